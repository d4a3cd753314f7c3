// The session in code: how a program goes on where this page is.

import { copyButton, h } from "./dom.js";

const FORMS = [
	["LangChain", langchain],
	["LlamaIndex", llamaindex],
	["curl", curl],
];

export function codeTab(page) {
	const element = h("div");

	function update({ session }) {
		const about = {
			cloud: session?.service === "llamacloud",
			agent: page.about.agents.find((each) => each.agent_id === session?.agent_id) ?? page.about.agents[0],
			session: session?.session_id,
			indexes: session?.index_ids,
			origin: location.origin,
		};
		element.replaceChildren(
			h("p", session ? "Go on with this session from a program." : "Ask this agent from a program.", " The key is read from the environment; it is not part of what you copy."),
			...FORMS.map(([label, make]) => {
				const text = make(about);
				return h("section", h("div.line", h("h3", label), copyButton(`Copy as ${label}`, text)), h("pre.code", { tabindex: "0" }, text));
			}),
		);
	}
	return { element, update };
}

const quoted = (text) => JSON.stringify(text);
const list = (texts) => `[${texts.map(quoted).join(", ")}]`;
const indexesOf = ({ indexes, agent }) => (indexes?.length ? indexes : [agent.index_id]);

function options(about) {
	const lines = about.cloud ? [`index_ids=${list(indexesOf(about))}`, `base_url=${quoted(about.origin)}`] : [`agent_id=${quoted(about.agent.agent_id)}`, `base_url=${quoted(`${about.origin}/v2`)}`];
	if (about.session) lines.push(`session_id=${quoted(about.session)}`);
	return lines.map((line) => `    ${line},\n`).join("");
}

const keyComment = (about) => `# ${about.cloud ? "LLAMA_CLOUD_API_KEY" : "MEIBEL_API_KEY"} holds the key\n`;

function langchain(about) {
	const cls = about.cloud ? "ChatLlamaCloud" : "ChatMeibel";
	return `from meibel_integrations.langchain import ${cls}

${keyComment(about)}model = ${cls}(
${options(about)})
for chunk in model.stream("What else?"):
		print(chunk.text, end="", flush=True)`;
}

function llamaindex(about) {
	const cls = about.cloud ? "LlamaCloudChatEngine" : "MeibelChatEngine";
	return `from meibel_integrations.llamaindex import ${cls}

${keyComment(about)}engine = ${cls}.from_defaults(
${options(about)})
for text in engine.stream_chat("What else?").response_gen:
		print(text, end="", flush=True)`;
}

function curl(about) {
	const session = about.session ?? "SESSION_ID";
	if (about.cloud) {
		return `curl -N ${about.origin}/api/v1/chat/${session}/messages/stream \\
	-H "Authorization: Bearer $LLAMA_CLOUD_API_KEY" \\
	-H "Content-Type: application/json" \\
	-d '{"index_ids": ${list(indexesOf(about))}, "prompt": "What else?"}'`;
	}
	return `curl -N ${about.origin}/v2/sessions/${session}/chat/stream \\
	-H "Meibel-API-Key: $MEIBEL_API_KEY" \\
	--data-urlencode "user_message=What else?"`;
}
