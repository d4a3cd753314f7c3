// Building elements. Text is always set as text: nothing here parses markup.

const SVG = "http://www.w3.org/2000/svg";
const PATHS = {
	plus: "M12 5v14M5 12h14",
	send: "M12 19V5M5 12l7-7 7 7",
	stop: "M7 7h10v10H7z",
	menu: "M4 7h16M4 12h16M4 17h16",
	panel: "M4 5h16v14H4zM14.5 5v14",
	close: "M6 6l12 12M18 6L6 18",
	clip: "M20 11l-8.5 8.5a5 5 0 0 1-7-7L13 4a3.5 3.5 0 0 1 5 5l-8.5 8.5a2 2 0 0 1-3-3L14 7",
	copy: "M9 9h11v11H9zM5 15H4V4h11v1",
	look: "M11 4a7 7 0 1 1 0 14 7 7 0 0 1 0-14zM16 16l4 4",
	back: "M14 6l-6 6 6 6",
	theme: "M12 3a9 9 0 1 0 0 18zM12 3a9 9 0 0 1 0 18",
	file: "M7 3h7l4 4v14H7zM14 3v4h4",
	link: "M10 14a4 4 0 0 0 6 .5l3-3a4 4 0 0 0-6-6l-1 1M14 10a4 4 0 0 0-6-.5l-3 3a4 4 0 0 0 6 6l1-1",
	fork: "M7 4v16M7 14c6 0 10-2 10-8M17 6l-3 3M17 6l3 3",
};

// h("p.faint", {title}, child, …): the attributes may be left out.
export function h(tag, ...children) {
	const [name, ...classes] = tag.split(".");
	const element = document.createElement(name);
	if (name === "button") element.type = "button";
	if (classes.length) element.className = classes.join(" ");
	const props = children[0]?.constructor === Object ? children.shift() : {};
	for (const [name, value] of Object.entries(props)) {
		if (value === undefined || value === null || value === false) continue;
		if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
		else if (name in element && typeof value !== "string") element[name] = value;
		else element.setAttribute(name, value === true ? "" : value);
	}
	element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
	return element;
}

export function icon(name) {
	const svg = document.createElementNS(SVG, "svg");
	svg.setAttribute("viewBox", "0 0 24 24");
	svg.setAttribute("aria-hidden", "true");
	const path = document.createElementNS(SVG, "path");
	path.setAttribute("d", PATHS[name]);
	svg.append(path);
	return svg;
}

export function iconButton(name, label, onclick, props) {
	return h("button.icon", { "aria-label": label, title: label, onclick, ...props }, icon(name));
}

export const quiet = (label, onclick, shown) => h("button.quiet", { onclick }, shown ? icon(shown) : null, label);

// Characters that turn the direction of what follows could make a name look like another one.
export function plain(text) {
	return String(text ?? "").replace(/[\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
}

// Without the marks of Markdown's headings.
export const brief = (snippet) => (snippet || "").replace(/(^|\s)#{1,6}\s/g, "$1");

export function name(text) {
	return h("bdi", plain(text));
}

export function json(value) {
	return h("pre.json", { tabindex: "0" }, typeof value === "string" ? plain(value) : plain(JSON.stringify(value, null, 2)));
}

export function announce(text) {
	document.getElementById("announce").textContent = text;
}

// A browser may refuse, and offers no clipboard to pages that come over a network without TLS.
export async function toClipboard(text) {
	const copied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
	announce(copied ? "Copied" : "The browser does not allow copying");
	return copied;
}

export function copyButton(label, text) {
	const button = quiet(label, copy, "copy");
	async function copy() {
		const copied = await toClipboard(text);
		button.lastChild.textContent = copied ? "Copied" : "Not allowed";
		setTimeout(() => (button.lastChild.textContent = label), 1500);
	}
	return button;
}

export function ago(iso) {
	const seconds = (Date.now() - Date.parse(iso)) / 1000;
	if (seconds < 60) return "just now";
	if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
	return new Date(iso).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
}

export const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
