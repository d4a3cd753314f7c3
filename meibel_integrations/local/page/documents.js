// The documents of an agent: a list, a search with scores, and a document with the cited passage marked.

import { call, newest, query } from "./api.js";
import { announce, brief, h, icon, iconButton, name, plain, plural, quiet } from "./dom.js";

const AROUND = 12;
const PAGE = 50;

export function documentsTab(page, subject) {
	const results = h("div");
	const search = h("input", { type: "search", placeholder: "Search as the agent does", "aria-label": "Search the documents", oninput: later });
	const overview = h("div", h("div.search", icon("look"), search), results);
	const viewer = h("div", { hidden: true });
	const element = h("div", overview, viewer);
	const once = newest();
	let timer = 0;

	const agentId = () => subject.session?.agent_id ?? page.about.agents[0].agent_id;
	const sessionId = () => subject.session?.session_id;

	function later() {
		clearTimeout(timer);
		timer = setTimeout(() => find().catch((error) => announce(error.message)), 200);
	}

	async function update() {
		if (viewer.hidden) await find();
	}

	async function find() {
		const text = search.value.trim();
		if (!text) return list(0);
		await once(
			() => call(`/_local/search?${query({ q: text, agent_id: agentId(), session_id: sessionId(), limit: 20 })}`),
			({ passages }) => results.replaceChildren(...(passages.length ? [h("p.faint", plural(passages.length, "passage")), h("ol.hits", passages.map(hit))] : [h("p.empty", "Nothing found.")])),
		);
	}

	async function list(offset) {
		const load = () => call(`/_local/agents/${agentId()}/documents?${query({ offset, limit: PAGE, session_id: sessionId() })}`);
		await once(load, ({ documents, total }) => {
			const items = documents.map((each) =>
				h("li", h("button.row", { onclick: () => open(each.document_id, "", true) }, icon("file"), h("span.title", name(each.title)), h("span.faint", each.session_id ? "uploaded here · " : "", plural(each.passages, "passage")))),
			);
			const pager = total > PAGE ? h("div.pager", offset ? step("Earlier", offset - PAGE) : null, offset + PAGE < total ? step("Later", offset + PAGE) : null) : null;
			results.replaceChildren(h("p.faint", plural(total, "document")), h("ul.documents", items), ...[pager].filter(Boolean));
		});
	}

	const step = (label, offset) => quiet(label, () => list(offset));

	function hit(passage) {
		const bar = h("span.bar", { "aria-hidden": "true" }, h("span"));
		bar.firstChild.style.width = `${Math.round(100 * Math.min(1, passage.score))}%`;
		return h(
			"li",
			h(
				"button.source",
				{ onclick: () => open(passage.document_id, passage.text.slice(0, 2000), true) },
				h("span.title", name(passage.title)),
				h("span.score", bar, passage.score.toFixed(3)),
				passage.heading ? h("span.faint", name(passage.heading)) : null,
				h("span.snippet", name(brief(passage.text.slice(0, 300)))),
			),
		);
	}

	// Opens a document at the quotation, or at its beginning.
	async function open(documentId, quote, focus, first) {
		try {
			await once(
				() => call(`/_local/documents/${encodeURIComponent(documentId)}?${query({ quote: (quote || "").slice(0, 2000), first, limit: AROUND })}`),
				(found) => draw(found, quote, focus),
			);
		} catch (error) {
			viewer.replaceChildren(header("Not there"), h("p.problem", { role: "alert" }, error.status === 404 ? "This document is no longer in the index." : error.message));
			flip(true);
		}
	}

	function flip(toViewer) {
		overview.hidden = toViewer;
		viewer.hidden = !toViewer;
	}

	function header(title) {
		return h("div.document-head", iconButton("back", "All documents", close), h("h3", { tabindex: "-1" }, name(title)));
	}

	async function close() {
		flip(false);
		await find();
		search.focus();
	}

	function draw(found, quote, focus) {
		const { passages, quote: place } = found;
		const from = passages[0]?.ordinal ?? 0;
		const to = passages.at(-1)?.ordinal ?? 0;
		const more = (label, first) => quiet(label, () => open(found.document_id, quote, false, first));
		const parts = passages.map((passage) => h("section.passage", passage.heading ? h("h4", name(passage.heading)) : null, h("p", { dir: "auto" }, marked(passage, place))));
		viewer.replaceChildren(
			header(found.title),
			h("p.faint", name(decoded(found.url)), ` · passages ${from + 1} to ${to + 1} of ${found.passages_in_all}`),
			...(quote && !place ? [h("p.note", "The cited words are not in the document as it is now.")] : []),
			h("div.document", from > 0 ? more("Earlier passages", Math.max(0, from - AROUND)) : null, parts, to + 1 < found.passages_in_all ? more("Later passages", to + 1) : null),
		);
		flip(true);
		if (focus) viewer.querySelector("h3").focus({ preventScroll: true });
		(viewer.querySelector("mark") || viewer).scrollIntoView({ block: "center" });
	}

	// Offsets count code points.
	function marked(passage, place) {
		if (!place || place.ordinal !== passage.ordinal) return plain(passage.text);
		const points = Array.from(plain(passage.text));
		const cut = (start, end) => points.slice(start - passage.start, end - passage.start).join("");
		return [cut(passage.start, place.start), h("mark", cut(place.start, place.end).split(/(\n\s*\n)/).map((part, i) => (i % 2 ? part : h("span", part)))), cut(place.end, passage.start + points.length)];
	}

	return { element, update, open };
}

function decoded(url) {
	try {
		return decodeURIComponent(url).replace(/^file:.*?([^/]+\/[^/]+)$/, "…/$1");
	} catch {
		return url;
	}
}
