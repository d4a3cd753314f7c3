// The inspector: tabs, and which turn of which session they are about.

import { announce, h, iconButton } from "./dom.js";
import { codeTab } from "./code.js";
import { continuityTab } from "./continuity.js";
import { documentsTab } from "./documents.js";
import { faultsTab } from "./faults.js";
import { turnTab } from "./timeline.js";
import { wireTab } from "./wire.js";

const TABS = [
	["turn", "Turn", turnTab],
	["wire", "Wire", wireTab],
	["continuity", "Continuity", continuityTab],
	["documents", "Documents", documentsTab],
	["faults", "Faults", faultsTab],
	["code", "Code", codeTab],
];

// A tab is made of {element, update(subject)}; subject is {session, signal}.
export function createInspector(page) {
	const subject = { session: null, signal: null };
	const tabs = TABS.map(([id, label, make]) => {
		const { element, update, ...more } = make(page, subject);
		const button = h("button", { role: "tab", id: `tab-${id}`, "aria-controls": `panel-${id}`, onclick: () => select(id) }, label);
		const panel = h("div", { role: "tabpanel", id: `panel-${id}`, "aria-labelledby": `tab-${id}`, tabindex: "0", class: "scroll" }, element);
		return { id, button, panel, update, ...more };
	});
	let current = "turn";

	const list = h("div", { role: "tablist", "aria-label": "Inspector", onkeydown: move }, tabs.map((tab) => tab.button));
	document
		.getElementById("inspector")
		.append(h("header", list, iconButton("close", "Close the inspector", () => page.show("inspector", false), { class: "icon only-narrow" })), ...tabs.map((tab) => tab.panel));

	function select(id, focus = false) {
		current = id;
		for (const tab of tabs) {
			const chosen = tab.id === id;
			tab.button.setAttribute("aria-selected", String(chosen));
			tab.button.tabIndex = chosen ? 0 : -1;
			tab.panel.hidden = !chosen;
			if (chosen) {
				tab.button.scrollIntoView({ block: "nearest", inline: "nearest" });
				if (focus) tab.button.focus();
			}
		}
		update();
	}

	function move(event) {
		const at = tabs.findIndex((tab) => tab.id === current);
		const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
		if (to === undefined) return;
		event.preventDefault();
		select(tabs[(to + tabs.length) % tabs.length].id, true);
	}

	function update() {
		const tab = tabs.find((each) => each.id === current);
		Promise.resolve(tab.update(subject)).catch((error) => announce(error.message));
	}

	select(current);
	return {
		show(session, signal, tab) {
			Object.assign(subject, { session, signal });
			if (tab) select(tab);
			else update();
		},
		openDocument(documentId, quote, session) {
			subject.session = session;
			select("documents");
			tabs.find((tab) => tab.id === "documents").open(documentId, quote, true);
		},
	};
}
