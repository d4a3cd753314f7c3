// What the agent did in a turn, step by step.

import { call, newest } from "./api.js";
import { h, json, plain, plural } from "./dom.js";

const POLL = 700;

export function turnTab() {
	const element = h("div");
	const once = newest();
	let timer = 0;

	async function update({ session, signal }) {
		clearTimeout(timer);
		if (!signal) return element.replaceChildren(h("p.empty", "Ask something: every step of the agent appears here."));
		await once(
			() => call(`/_local/sessions/${session.session_id}/turns/${signal}`),
			(turn) => {
				element.replaceChildren(...draw(turn));
				if (turn.state === "running") timer = setTimeout(() => element.offsetParent && update({ session, signal }).catch(() => {}), POLL);
			},
		);
	}
	return { element, update };
}

function draw(turn) {
	const began = Date.parse(turn.started_at);
	const since = (at) => `+${((Date.parse(at) - began) / 1000).toFixed(2)} s`;
	const step = (kind, at, title, ...details) =>
		h("li", { class: `step ${kind}` }, h("div.line", h("span", title), h("time", at ? since(at) : "")), details);
	const items = [step("start", turn.started_at, "Question received")];
	const results = new Map(turn.events.filter((event) => event.kind === "tool_result").map((event) => [event.id, event]));
	const calls = new Set(turn.events.filter((event) => event.kind === "tool_call").map((event) => event.id));
	for (const group of grouped(turn.events)) {
		const [event] = group;
		if (event.kind === "status") items.push(step("status", event.at, plain(event.text)));
		else if (event.kind === "thinking")
			items.push(step("thinking", event.at, "Thinking", h("p.thought", { dir: "auto" }, plain(group.map((each) => each.delta).join("")))));
		else if (event.kind === "delta") {
			const characters = group.reduce((sum, each) => sum + each.text.length, 0);
			const until = group.at(-1).at;
			items.push(step("delta", event.at, `Text: ${plural(characters, "character")} in ${plural(group.length, "piece")}`, h("p.faint", `until ${since(until)}`)));
		} else if (event.kind === "tool_call") items.push(tool(event, results.get(event.id), step, since));
		else if (!calls.has(event.id)) items.push(tool(event, event, step, since));
	}
	const outcome = { running: "Still running", completed: "Completed", failed: `Failed: ${plain(turn.error)}` }[turn.state];
	items.push(step(turn.state, turn.finished_at, outcome));
	const usage = Object.entries(turn.usage).map(([word, count]) => h("div", h("dt", plain(word).replaceAll("_", " ")), h("dd", count.toLocaleString("en"))));
	return [
		h("ol.timeline", items),
		usage.length ? h("section", h("h3", "Usage"), h("dl.figures", usage)) : null,
		h("p.faint.id", `signal ${turn.signal_id}`),
	].filter(Boolean);
}

// Deltas, and pieces of thinking, that follow each other are one step.
function grouped(events) {
	const groups = [];
	for (const event of events) {
		const last = groups.at(-1);
		if (last && last[0].kind === event.kind && ["delta", "thinking"].includes(event.kind)) last.push(event);
		else groups.push([event]);
	}
	return groups;
}

function tool(call, result, step, since) {
	const brief = Object.values(call.arguments ?? {}).find((value) => typeof value === "string") || "";
	const found = Array.isArray(result?.result) ? plural(result.result.length, "result") : result ? "result" : "no result yet";
	return step(
		"tool",
		call.at,
		[h("code", plain(call.name)), " ", h("span.faint", { dir: "auto" }, plain(brief).slice(0, 60))],
		h("details", h("summary", "arguments"), json(call.arguments ?? {})),
		h("details", h("summary", result ? `${found}, ${since(result.at)}` : found), result ? json(result.result) : null),
	);
}
