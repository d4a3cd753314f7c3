// Where the conversation of a session comes from, and which sessions came from it.

import { call, newest } from "./api.js";
import { ago, h, icon, name, plain, plural } from "./dom.js";

export function continuityTab() {
	const element = h("div");
	const once = newest();

	async function update({ session }) {
		if (!session) return element.replaceChildren(h("p.empty", "A session is opened with the first question."));
		await once(
			() => call(`/_local/sessions/${session.session_id}/continuity`),
			(found) => element.replaceChildren(...draw(found).filter(Boolean)),
		);
	}
	return { element, update };
}

function draw({ kind, told, origin, origin_session: home, first_message: first, branches }) {
	const from = home && link(home.session_id, home.title || "Nothing asked", `${plural(origin.messages, "message")} the same`);
	return [
		h("h3", { new: "A new conversation", seeded: "Seeded", forked: "Forked" }[kind]),
		h("p", explained(kind, told, origin)),
		from ? h("ul.links", from) : null,
		first.length > 1
			? h(
					"section",
					h("h3", "What the first message carried"),
					h("ol.blocks", first.map((block) => h("li", h("b", block.name ? plain(`${block.role} (${block.name})`) : block.role), h("p", { dir: "auto" }, plain(block.text))))),
				)
			: null,
		h("section", h("h3", "Opened from here"), branches.length ? h("ul.links", branches.map(branch)) : h("p.faint", "No other session repeats this one.")),
	];
}

function explained(kind, told, origin) {
	if (kind === "new") return "The session was opened without an earlier conversation. Its turns are its whole history.";
	const opened = `The session was opened with ${plural(told, "earlier message")}.`;
	if (!origin) return `${opened} No session of this key has said them: they come from elsewhere.`;
	if (kind === "seeded") return `${opened} They are the whole of this session's conversation at that time:`;
	const reasons = [
		origin.went_on ? "that session had gone on by itself" : null,
		origin.exact ? null : "the messages differ from what was said there",
	].filter(Boolean);
	return `${opened} They repeat the session below, but ${reasons.join(", and ")}: continuing there would have mixed two conversations.`;
}

const branch = (session) => link(session.session_id, session.title || "Nothing asked", `${plural(session.turns, "turn")}, ${ago(session.updated_at)}`);

function link(sessionId, title, more) {
	return h("li", h("a", { href: `#/s/${sessionId}` }, icon("fork"), name(title)), h("span.faint", more));
}
