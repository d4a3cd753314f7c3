// What went over the wire: the events of the turn as they are sent, and the requests of this key.

import { call, newest } from "./api.js";
import { copyButton, h, json, plain, quiet } from "./dom.js";

const MOST_SHOWN = 200000;

export function wireTab(page) {
	const stream = h("div");
	const log = h("ol.requests");
	const once = newest();
	const onceLog = newest();
	const element = h(
		"div",
		stream,
		h("section", h("div.line", h("h3", "Requests"), h("span", quiet("Refresh", requests), quiet("Clear", clear))), log),
	);

	async function update({ session, signal }) {
		await Promise.all([requests(), events(session, signal)]);
	}

	async function events(session, signal) {
		if (!signal) return stream.replaceChildren(h("p.empty", "The raw events of a turn appear here."));
		const received = page.received.get(signal);
		const load = async () => (received ? received.join("\n\n") : (await call(`/_local/sessions/${session.session_id}/turns/${signal}`)).stream);
		await once(load, (text) => {
			const shown = text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN)}\n… ${text.length} characters in all` : text;
			stream.replaceChildren(
				h("div.line", h("h3", "Server-sent events"), copyButton("Copy", text)),
				h("p.faint", received ? "As this page received them." : "As a client receives them that asks for everything."),
				h("pre.raw", { tabindex: "0" }, plain(shown)),
			);
		});
	}

	async function requests() {
		await onceLog(
			() => call("/_local/requests"),
			(found) => {
				const items = found.requests.slice(-100).reverse().map(item);
				log.replaceChildren(...(items.length ? items : [h("li.empty", "None yet.")]));
			},
		);
	}

	async function clear() {
		await call("/_local/requests", { method: "DELETE" });
		await requests();
	}
	return { element, update };
}

function item(entry) {
	const good = entry.status !== null && entry.status < 400;
	const head = [
		h("span", { class: `status ${good ? "good" : "bad"}` }, String(entry.status ?? "…")),
		h("code", `${entry.method} `, h("span", plain(entry.path))),
		h("time.faint", new Date(entry.at).toLocaleTimeString([], { hour12: false })),
	];
	if (!entry.body) return h("li", h("div.head", head));
	return h("li", h("details", h("summary.head", head), json(entry.body)));
}
