// Faults on request: the next turns fail in the ways that are chosen here.

import { call, newest } from "./api.js";
import { announce, h, plural, quiet } from "./dom.js";

export function faultsTab() {
	const waiting = h("div");
	const switches = h("ul.faults");
	const element = h("div", h("p", "Let the next turns fail, and see what your application does. Each press adds one failure."), waiting, switches);
	const once = newest();

	const update = () => once(() => call("/_local/faults"), draw);

	function draw({ faults, available }) {
		const count = faults.reduce((sum, fault) => sum + fault.times, 0);
		waiting.replaceChildren(
			...(count
				? [h("div.line.waiting", h("span", `${plural(count, "failure")} waiting: ${faults.map((fault) => fault.fault.replaceAll("_", " ")).join(", ")}`), quiet("Forget", clear))]
				: []),
		);
		if (switches.childElementCount) return;
		switches.replaceChildren(
			...Object.entries(available).map(([fault, explained]) =>
				h("li", h("div", h("b", fault.replaceAll("_", " ")), h("p.faint", explained)), h("button.quiet", { "aria-label": `Add ${fault.replaceAll("_", " ")}`, onclick: () => add(fault) }, "Add")),
			),
		);
	}

	async function add(fault) {
		draw(await call("/_local/faults", { json: { fault } }));
		announce("Added");
	}

	async function clear() {
		await call("/_local/faults", { method: "DELETE" });
		await update();
	}
	return { element, update };
}
