// The conversation: questions, streamed answers with citations, and the box to ask in.

import { ServiceError, call } from "./api.js";
import { announce, brief, copyButton, h, icon, iconButton, name, plain, plural, quiet, sleep, toClipboard } from "./dom.js";
import { render } from "./markdown.js";
import * as wires from "./wires.js";

const POLL = 600;
const MOST_TURNS = 50;
const ALL_TURNS = 1000;
const WAITING = "Waiting: the agent is still busy with the turn before. This question is sent when that is over.";

export function createChat(page) {
	const root = document.getElementById("chat");
	const title = h("h1");
	const chips = h("div.chips");
	const turns = h("div.turns");
	const scroll = h("div.scroll", { tabindex: "-1" }, turns);
	const composer = createComposer(page, ask, stop);
	let session = null; // what the service said of it last; null: it is made with the first question
	let shown = 0; // grows with every session that is shown, so that what was begun for another one stops
	let streaming = null; // {abort}: the stream that is being read
	let busy = null; // a promise while a turn of the session runs

	root.append(
		h(
			"header",
			iconButton("menu", "Sessions", () => page.toggle("sidebar"), { class: "icon only-narrow" }),
			h("div.heading", title, chips),
			iconButton("link", "Copy a link to this session", () => toClipboard(location.href)),
			iconButton("panel", "Inspector", () => page.toggle("inspector")),
		),
		scroll,
		composer.element,
	);

	// Showing a session

	async function show(sessionId, most = MOST_TURNS) {
		if (sessionId && session?.session_id === sessionId) return;
		shown += 1;
		const mine = shown;
		streaming?.abort.abort();
		streaming = busy = session = null;
		composer.reset();
		turns.replaceChildren();
		page.inspector.show(null, null);
		if (sessionId === null) return welcome();
		title.textContent = "Loading…";
		chips.replaceChildren();
		try {
			const found = await call(`/_local/sessions/${sessionId}?limit=${most}`);
			if (mine !== shown) return;
			take(found);
			const { earlier_turns: earlier } = found;
			if (earlier) turns.append(quiet(`Show ${plural(earlier, "earlier turn")}`, () => ((session = null), show(sessionId, ALL_TURNS))));
			turns.append(...found.messages.map(stored));
			scroll.scrollTop = scroll.scrollHeight;
			if (found.messages.length) page.inspector.show(session, found.messages.at(-1).signal_id);
			else page.inspector.show(session, null);
			if (found.running) watch(turns.lastElementChild, found.running, "This turn was already running.");
		} catch (error) {
			if (mine !== shown) return;
			title.textContent = "Not found";
			turns.replaceChildren(h("p.problem", { role: "alert" }, error.message));
		}
	}

	function take(found) {
		session = found;
		title.replaceChildren(found.title ? name(found.title) : "New chat");
		const { continuity: from, service } = found;
		const ended = found.status === "RUNNING" ? null : h("span.chip.warn", found.status.toLowerCase());
		chips.replaceChildren(
			h("span.chip", service === "llamacloud" ? "LlamaCloud chat" : "Meibel session"),
			h("span.chip", name(found.agent_name)),
			...[ended].filter(Boolean),
			...origin(from),
		);
		composer.use(found);
	}

	function origin({ kind, told, origin: from }) {
		if (kind === "new") return [];
		const said = `${kind === "forked" ? "forked" : "seeded"}: opened with ${plural(told, "message")}`;
		if (!from) return [h("span.chip.special", icon("fork"), said)];
		return [h("a.chip.special", { href: `#/s/${from.session_id}` }, icon("fork"), `${said} of an earlier session`)];
	}

	function welcome() {
		title.textContent = "New chat";
		chips.replaceChildren();
		composer.use(null);
		turns.replaceChildren(
			h(
				"div.welcome",
				h("h2", "Ask your documents"),
				h("p", "Answers stream in, with the passages that they rest on. The inspector shows what the agent did, and what went over the wire."),
				composer.choice(),
			),
		);
		composer.focus();
	}

	// Turns

	// A turn as the service has stored it.
	function stored(turn) {
		const element = turnElement(turn.message, turn.files);
		element.dataset.signal = turn.signal_id;
		settle(element, turn);
		return element;
	}

	function turnElement(message, files) {
		const last = message.findLastIndex((block) => block.role === "user");
		const asked = last >= 0 ? message[last] : { text: message.map((block) => block.text).join("\n\n") };
		const others = message.filter((_, i) => i !== last && last >= 0);
		return h(
			"article.turn",
			h(
				"div.question",
				h("h2.unseen", "You asked"),
				h("p", { dir: "auto" }, plain(asked.text)),
				files.map((file) => h("span.chip", icon("file"), name(file.filename))),
				others.length
					? h(
							"details",
							h("summary", `sent with ${plural(others.length, "more message")}`),
							others.map((block) => h("p", { dir: "auto" }, h("b", `${block.role}: `), plain(block.text))),
						)
					: null,
			),
			h("div.answer", h("h2.unseen", "Answer"), h("p.activity"), h("div.text"), h("div.below")),
		);
	}

	const part = (element, which) => element.querySelector(`.answer > .${which}`);

	function activity(element, text) {
		part(element, "activity").replaceChildren(...(text ? [h("span.spinner"), text] : []));
	}

	// The final form of a turn: its text with citations, its sources, and what can be done next.
	function settle(element, turn, notice) {
		const running = turn.state === "running";
		const byId = new Map(turn.sources.map((source) => [source.source_id, source]));
		const cite = (id) => citation(id, byId.get(id));
		activity(element, running ? "The agent is answering" : "");
		part(element, "text").replaceChildren(render(turn.answer, turn.citations.filter(({ source_ids }) => source_ids.some((id) => byId.has(id))), cite));
		if (running) return;
		const tokens = turn.usage.total_tokens;
		part(element, "below").replaceChildren(
			...[
				turn.state === "failed" ? h("p.problem", `The turn failed: ${plain(turn.error) || "no reason was given"}`) : null,
				notice ? h("p.note", notice) : null,
				turn.sources.length ? sources(turn.sources) : null,
				turn.follow_up_questions.length
					? h("div.followups", { role: "group", "aria-label": "Follow-up questions" }, turn.follow_up_questions.map((text) => h("button.chip", { onclick: () => ask(text, []) }, name(text))))
					: null,
				h(
					"div.actions",
					copyButton("Copy", turn.answer),
					quiet("Inspect", () => inspect(turn.signal_id), "look"),
					tokens ? h("span.faint", plural(tokens, "token")) : null,
				),
			].filter(Boolean),
		);
	}

	function inspect(signal) {
		page.inspector.show(session, signal, "turn");
		page.show("inspector", true);
	}

	function citation(id, source) {
		if (!source) return `[${id}]`;
		const label = `Source ${id}: ${plain(source.title)}`;
		return h("button.cite", { "aria-label": label, onclick: () => openSource(source), ...hovering(source) }, `[${id}]`);
	}

	function sources(found) {
		const cards = found.map((source) =>
			h(
				"li",
				h(
					"button.source",
					{ onclick: () => openSource(source) },
					h("span.number", String(source.source_id)),
					h("span.title", name(source.title)),
					h("span.snippet", name(brief(source.snippet))),
					source.relevance_score === null ? null : h("span.faint", `score ${source.relevance_score.toFixed(2)}`),
				),
			),
		);
		return h("section.sources", { "aria-label": "Sources" }, h("h3", plural(found.length, "source")), h("ul", cards));
	}

	function openSource(source) {
		document.getElementById("hover").hidden = true;
		page.show("inspector", true, false);
		page.inspector.openDocument(source.data_element_id, source.snippet, session);
	}

	// Asking

	async function ask(text, files) {
		const element = turnElement([{ role: "user", text }], files.map((file) => ({ filename: file.name })));
		if (!session) turns.replaceChildren();
		turns.append(element);
		scroll.scrollTop = scroll.scrollHeight;
		const mine = shown;
		composer.busy(true);
		try {
			if (busy) {
				composer.waiting(true);
				activity(element, WAITING);
				await busy;
				if (mine !== shown) return;
			}
			await run(element, text, files);
		} finally {
			if (mine === shown) composer.busy(false);
		}
	}

	async function run(element, text, files) {
		const mine = shown;
		composer.waiting(false);
		activity(element, "Sending");
		let before = null;
		let problem = null;
		const abort = new AbortController();
		streaming = { abort };
		const live = liveText(element);
		const raw = [];
		let ended = false;
		try {
			if (!session) await create(mine);
			if (mine !== shown) return;
			before = await free(element);
			if (mine !== shown) return;
			const response = await wires.open(session, indexes(), text, files, abort.signal);
			activity(element, "The agent is answering");
			latest().then((turn) => mine === shown && page.inspector.show(session, turn.signal_id), () => {});
			for await (const event of wires.events(response, (block) => raw.push(block))) {
				if (mine !== shown) return;
				if (event.kind === "text") live.add(event.text);
				else if (event.kind === "status") activity(element, event.text);
				else if (event.kind === "thinking") activity(element, "Thinking");
				else if (event.kind === "error") problem = new ServiceError(event.error || "The turn failed.");
				else ended = true;
			}
			if (!ended && !problem) problem = new ServiceError("The stream ended before the answer did.");
		} catch (error) {
			problem = error;
		} finally {
			live.end();
			streaming = null;
		}
		if (mine !== shown) return;
		const stopped = abort.signal.aborted;
		if (!session) return failed(element, problem, text, files);
		const over = finish(element, before, { problem, stopped, text, files, raw });
		if (!stopped) return over;
		// The box is free again; whatever is asked next waits for this.
		busy = over.finally(() => (busy = null));
	}

	// Waits until no turn of the session runs, whoever began it. The last one's signal.
	async function free(element) {
		for (const mine = shown; ; await sleep(POLL)) {
			const turn = await latest();
			if (mine !== shown || turn?.state !== "running") return turn?.signal_id;
			activity(element, WAITING);
		}
	}

	// What became of a turn, from the service itself: a stream that broke says nothing about the turn.
	async function finish(element, before, { problem, stopped, text, files, raw }) {
		const mine = shown;
		if (stopped) activity(element, "You left the answer. The agent finishes its turn all the same.");
		else if (problem) activity(element, "The stream broke. Looking for the answer in the session");
		for (; ; await sleep(POLL)) {
			let turn;
			try {
				turn = await latest();
			} catch (error) {
				if (error.status) return failed(element, error, text, files);
				if (mine !== shown) return;
				announce("The service cannot be reached");
				activity(element, "The service cannot be reached. Trying again");
				continue;
			}
			if (mine !== shown) return;
			if (!turn || turn.signal_id === before) return failed(element, problem || new ServiceError("The question did not arrive."), text, files);
			element.dataset.signal = turn.signal_id;
			if (raw.length) page.received.set(turn.signal_id, raw);
			page.inspector.show(session, turn.signal_id);
			if (turn.state === "running") continue;
			const notice = stopped
				? "You left this answer; this is what the agent said in the end."
				: problem && turn.state === "completed"
					? `${problem.message} The answer was read from the session.`
					: null;
			const atEnd = nearEnd();
			settle(element, turn, notice);
			if (atEnd) scroll.scrollTop = scroll.scrollHeight;
			announce(turn.state === "completed" ? "The answer is complete" : "The turn failed");
			page.sidebar.refresh();
			return;
		}
	}

	async function latest() {
		const found = await call(`/_local/sessions/${session.session_id}?limit=1`);
		const turn = found.messages[0];
		if (found.session_id === session.session_id) take(found);
		return turn;
	}

	// A turn that runs without a stream of ours.
	function watch(element, signal, why) {
		const mine = shown;
		composer.note(why);
		busy = (async () => {
			for (;;) {
				const turn = await latest().catch(() => null);
				if (mine !== shown) return;
				if (turn) settle(element, turn);
				if (turn && (turn.signal_id !== signal || turn.state !== "running")) break;
				await sleep(POLL);
			}
			page.inspector.show(session, signal);
			page.sidebar.refresh();
		})().finally(() => {
			if (mine === shown) busy = null;
			composer.note("");
		});
	}

	// A chat that a program opened may be bound to no index: each question then names one.
	function indexes() {
		if (session.index_ids.length) return session.index_ids;
		return page.about.agents.filter((agent) => agent.agent_id === session.agent_id).map((agent) => agent.index_id);
	}

	async function create(mine) {
		const { service, agent } = composer.chosen();
		const made =
			service === "llamacloud"
				? await call("/api/v1/chat", { json: { index_ids: [agent.index_id] } })
				: await call(`/v2/agents/${agent.agent_id}/sessions`, { method: "POST" });
		if (mine !== shown) return;
		const found = await call(`/_local/sessions/${made.session_id ?? made.id}`);
		take(found);
		history.pushState(null, "", `#/s/${found.session_id}`);
		page.sidebar.mark(found.session_id);
	}

	function failed(element, error, text, files) {
		activity(element, "");
		const again = quiet("Ask again", () => (element.remove(), ask(text, files)));
		part(element, "below").replaceChildren(h("p.problem", { role: "alert" }, plain(error.message), " "), h("div.actions", again));
		page.sidebar.refresh();
	}

	function stop() {
		streaming?.abort.abort();
	}

	const nearEnd = () => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;

	// Text as it comes, drawn seldom enough that drawing never takes most of the time.
	function liveText(element) {
		let text = "";
		let timer = 0;
		let cost = 0;
		function draw() {
			timer = 0;
			const began = performance.now();
			const follow = nearEnd();
			part(element, "text").replaceChildren(render(text));
			if (follow) scroll.scrollTop = scroll.scrollHeight;
			cost = performance.now() - began;
		}
		return {
			add(piece) {
				text += piece;
				timer ||= setTimeout(draw, Math.max(40, 4 * cost));
			},
			end() {
				clearTimeout(timer);
				if (text) draw();
			},
		};
	}

	return { show };
}

function hovering(source) {
	const card = document.getElementById("hover");
	function show(event) {
		const box = event.currentTarget.getBoundingClientRect();
		card.replaceChildren(h("strong", name(source.title)), h("p", { dir: "auto" }, plain(brief(source.snippet))));
		card.hidden = false;
		const left = Math.min(box.left, innerWidth - card.offsetWidth - 12);
		const above = box.top - card.offsetHeight - 8;
		card.style.left = `${Math.max(12, left)}px`;
		card.style.top = `${above > 8 ? above : box.bottom + 8}px`;
	}
	const hide = () => (card.hidden = true);
	return { onmouseenter: show, onmouseleave: hide, onfocus: show, onblur: hide, onkeydown: (event) => event.key === "Escape" && hide(), "aria-describedby": "hover" };
}

function createComposer(page, ask, stop) {
	const { about } = page;
	const box = h("textarea", { id: "question", rows: "1", placeholder: "Ask a question", "aria-label": "Question", oninput: grow, onkeydown: keys });
	const picker = h("input", { type: "file", multiple: true, class: "unseen", tabindex: "-1", "aria-label": "Files to upload", onchange: () => add(picker.files) });
	const attach = iconButton("clip", "Attach files", () => picker.click());
	const send = h("button", { type: "submit", class: "icon primary", "aria-label": "Send", title: "Send" }, icon("send"));
	const stopper = iconButton("stop", "Stop reading the answer", stop, { hidden: true, class: "icon primary" });
	const chips = h("div.chips");
	const said = h("p.note", { role: "status" });
	let files = [];
	let current = null;
	let isBusy = false;
	let service = "meibel";
	let agent = about.agents[0];

	const element = h(
		"form.composer",
		{ onsubmit: submit, ondragover: (event) => event.preventDefault(), ondrop: (event) => (event.preventDefault(), add(event.dataTransfer.files)) },
		said,
		h("div.field", chips, box, h("div.row", attach, picker, h("span.hint.faint", "Enter sends, Shift+Enter makes a line"), send, stopper)),
	);

	function grow() {
		box.style.height = "auto";
		box.style.height = `${Math.min(box.scrollHeight, 200)}px`;
	}

	function keys(event) {
		if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
		event.preventDefault();
		submit(event);
	}

	function submit(event) {
		event.preventDefault();
		const text = box.value.trim();
		if (!text) return;
		if (isBusy) return note("The agent is still answering. Stop leaves the answer.");
		const most = (current?.service ?? service) === "llamacloud" ? about.limits.prompt_chars : about.limits.message_chars;
		if (text.length > most) return note(`The question has ${text.length} characters; at most ${most} are accepted.`);
		const sent = files;
		note("");
		box.value = "";
		files = [];
		draw();
		grow();
		ask(text, sent);
	}

	function add(list) {
		for (const file of list) {
			if (files.length >= about.limits.files) note(`At most ${about.limits.files} files go with one question.`);
			else if (file.size > about.limits.file_bytes) note(`${plain(file.name)} is too large.`);
			else files.push(file);
		}
		picker.value = "";
		draw();
		box.focus();
	}

	function draw() {
		chips.replaceChildren(
			...files.map((file) => h("span.chip", icon("file"), name(file.name), iconButton("close", `Remove ${plain(file.name)}`, () => ((files = files.filter((other) => other !== file)), draw())))),
		);
	}

	const note = (text) => (said.textContent = text);

	function choose() {
		attach.hidden = (current?.service ?? service) === "llamacloud";
	}

	function choice() {
		const radio = (value, label, explained) =>
			h("label", h("input", { type: "radio", name: "service", value, checked: service === value, onchange: () => ((service = value), choose()) }), h("span", h("b", label), h("span.faint", explained)));
		const select = h("select", { id: "agent", onchange: (event) => (agent = about.agents[event.target.selectedIndex]) }, about.agents.map((each) => h("option", { selected: each === agent }, plain(each.name))));
		return h(
			"div.choice",
			h("fieldset", h("legend", "Ask through"), radio("meibel", "Meibel session", "/v2/sessions"), radio("llamacloud", "LlamaCloud chat", "/api/v1/chat")),
			h("label", { for: "agent" }, "Agent"),
			select,
		);
	}

	return {
		element,
		choice,
		note,
		chosen: () => ({ service, agent }),
		focus: () => box.focus(),
		reset() {
			files = [];
			draw();
			note("");
			this.busy(false);
		},
		use(session) {
			current = session;
			const ended = Boolean(session && session.status !== "RUNNING");
			box.disabled = ended;
			if (ended) note(`This session has ended (${session.status.toLowerCase()}); it accepts no further question.`);
			choose();
		},
		busy(value) {
			if (isBusy && !value) note("");
			isBusy = value;
			send.hidden = value;
			stopper.hidden = !value;
			if (value) stopper.disabled = false;
		},
		waiting(value) {
			stopper.disabled = value;
		},
	};
}
