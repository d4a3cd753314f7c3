// The list of sessions, of both services, with a search.

import { call, query } from "./api.js";
import { ago, h, icon, iconButton, name, plural, quiet } from "./dom.js";

const PAGE = 50;

export function createSidebar(page, theme) {
	const list = h("ul.sessions");
	const count = h("p.faint", { role: "status" });
	const more = quiet("Show more", () => load(true));
	const search = h("input", { type: "search", placeholder: "Search sessions", "aria-label": "Search sessions", oninput: later });
	let current = null;
	let known = [];
	let timer = 0;

	document.getElementById("sidebar").append(
		h(
			"header",
			h("img", { src: "/page/icon.svg", alt: "", width: "24", height: "24" }),
			h("strong", "Meibel local"),
			theme,
			iconButton("close", "Close sessions", () => page.show("sidebar", false), { class: "icon only-narrow" }),
		),
		h("a.primary.new", { href: "#/" }, icon("plus"), "New chat"),
		h("div.search", icon("look"), search),
		h("nav", { "aria-label": "Sessions", class: "scroll" }, list, more),
		h("footer", count),
	);

	function later() {
		clearTimeout(timer);
		timer = setTimeout(() => load(), 200);
	}

	async function load(further = false) {
		const offset = further ? known.length : 0;
		const limit = further ? PAGE : Math.max(PAGE, known.length);
		const found = await call(`/_local/sessions?${query({ contains: search.value, offset, limit: Math.min(limit, 500) })}`);
		known = further ? [...known, ...found.sessions] : found.sessions;
		list.replaceChildren(...known.map(item));
		more.hidden = known.length >= found.total;
		count.textContent = plural(found.total, "session");
		mark(current);
	}

	function item(session) {
		const cloud = session.service === "llamacloud";
		return h(
			"li",
			h(
				"a",
				{ href: `#/s/${session.session_id}` },
				h("span.title", session.title ? name(session.title) : "Nothing asked yet"),
				h(
					"span.faint",
					`${cloud ? "LlamaCloud" : session.agent_name} · ${plural(session.turns, "turn")} · ${ago(session.updated_at)}`,
					session.running ? h("span.dot", { title: "answering" }) : null,
				),
			),
		);
	}

	function mark(sessionId) {
		current = sessionId;
		for (const link of list.querySelectorAll("a")) {
			const here = link.hash === `#/s/${sessionId}`;
			if (here) link.setAttribute("aria-current", "page");
			else link.removeAttribute("aria-current");
		}
	}

	load();
	return { refresh: () => load(), mark };
}
