// An answer as elements. Markup inside of it is shown as text, links lead to the web only, images are not loaded,
// and the result passes a sanitiser all the same.

import { Marked } from "./marked.esm.js";
import "./purify.min.js";
import { h, plain } from "./dom.js";

const { DOMPurify } = globalThis;
const OPEN = "\ue000"; // around the numbers of a citation, until it is a button
const CLOSE = "\ue001";
const MARK = /\ue000([\d,]+)\ue001/g;
const TAGS = "a b blockquote br code del em h1 h2 h3 h4 h5 h6 hr i li ol p pre strong table tbody td th thead tr ul".split(" ");

const escaped = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
const marked = new Marked({
	gfm: true,
	renderer: {
		html: ({ text, block }) => (block ? `<p>${escaped(text)}</p>` : escaped(text)),
		image: ({ text, href }) => escaped(text || href),
		link({ href, tokens }) {
			const inside = this.parser.parseInline(tokens);
			return /^(https?:|mailto:)/i.test(href) ? `<a href="${escaped(href)}">${inside}</a>` : inside;
		},
		checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
	},
});

// cite(number) makes the button of a source.
export function render(text, citations = [], cite = null) {
	const source = withMarks(plain(text).replace(/[\ue000\ue001]/g, "\ufffd"), citations);
	const fragment = DOMPurify.sanitize(marked.parse(source), {
		ALLOWED_TAGS: TAGS,
		ALLOWED_ATTR: ["href", "start", "align"],
		RETURN_DOM_FRAGMENT: true,
	});
	for (const link of fragment.querySelectorAll("a")) {
		link.target = "_blank";
		link.rel = "noopener noreferrer nofollow";
	}
	for (const block of fragment.querySelectorAll("pre")) block.tabIndex = 0;
	for (const table of fragment.querySelectorAll("table")) {
		const box = h("div.wide", { tabindex: "0", role: "region", "aria-label": "Table" });
		table.replaceWith(box);
		box.append(table);
	}
	for (const part of fragment.querySelectorAll("p, li, h1, h2, h3, h4, td, th, blockquote")) part.dir = "auto";
	if (citations.length) placeButtons(fragment, cite);
	return fragment;
}

// Positions count code points. A mark may not end up inside of a fence's last line, or behind a table row.
function withMarks(text, citations) {
	if (!citations.length) return text;
	const points = Array.from(text);
	const marks = citations.map(({ position, source_ids }) => ({ position, mark: OPEN + source_ids.join(",") + CLOSE }));
	let result = "";
	let from = 0;
	for (const { position, mark } of marks.sort((a, b) => a.position - b.position)) {
		result += points.slice(from, position).join("");
		from = position;
		const line = result.slice(result.lastIndexOf("\n") + 1);
		if (/^\s*(```|~~~)/.test(line)) result += `\n\n${mark}`;
		else if (/^\s*\|.*\|\s*$/.test(line)) result = result.replace(/\|\s*$/, ` ${mark} |`);
		else result += mark;
	}
	return result + points.slice(from).join("");
}

function placeButtons(fragment, cite) {
	const walker = document.createTreeWalker(fragment, NodeFilter.SHOW_TEXT);
	const found = [];
	while (walker.nextNode()) if (walker.currentNode.data.includes(OPEN)) found.push(walker.currentNode);
	for (const node of found) {
		const parts = node.data.split(MARK);
		const placed = [];
		for (let i = 0; i < parts.length - 1; i += 2) {
			// A citation is not parted from the word before it.
			const word = /\S{0,20}$/.exec(parts[i])[0];
			const buttons = parts[i + 1].split(",").map((id) => cite(Number(id)));
			placed.push(parts[i].slice(0, parts[i].length - word.length), h("span.keep", word, buttons));
		}
		node.replaceWith(...placed, parts.at(-1));
	}
}
