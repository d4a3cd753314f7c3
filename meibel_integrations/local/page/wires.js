// The three wires of a streamed turn, as one list of events: {kind, text | call | error | end}.

import { ServiceError, request } from "./api.js";

export function open({ service, session_id: sessionId }, indexIds, text, files, signal) {
	if (service === "llamacloud") {
		return request(`/api/v1/chat/${sessionId}/messages/stream`, { json: { index_ids: indexIds, prompt: text }, signal });
	}
	const form = new FormData();
	form.set("user_message", text);
	form.set("include_thinking", "true");
	form.set("include_tool_activity", "true");
	for (const file of files) form.append("files", file, file.name);
	return request(`/v2/sessions/${sessionId}/chat/stream`, { form, signal });
}

// Server-sent events as the service writes them: its lines end with one line feed.
async function* blocks(body) {
	const reader = body.pipeThrough(new TextDecoderStream()).getReader();
	let rest = "";
	let from = 0;
	for (;;) {
		const { done, value } = await reader.read();
		if (done) return;
		rest += value;
		let at;
		while ((at = rest.indexOf("\n\n", from)) >= 0) {
			yield rest.slice(0, at);
			rest = rest.slice(at + 2);
			from = 0;
		}
		from = Math.max(0, rest.length - 1);
	}
}

function parse(block) {
	let name = "message";
	const data = [];
	for (const line of block.split("\n")) {
		if (line.startsWith("event:")) name = line.slice(6).trim();
		if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
	}
	return data.length ? { name, data: data.join("\n") } : null;
}

// raw(text) is told every block as it came. Throws when the stream breaks; ends without {kind: "end"} when it is cut.
export async function* events(response, raw) {
	if (!(response.headers.get("content-type") || "").startsWith("text/event-stream")) {
		throw new ServiceError("The answer is not an event stream.");
	}
	try {
		for await (const block of blocks(response.body)) {
			raw(block);
			const event = parse(block);
			if (!event) continue;
			let data;
			try {
				data = JSON.parse(event.data);
			} catch {
				throw new ServiceError("An event of the stream is not JSON.");
			}
			const known = read(data.type || event.name, data);
			if (known) yield known;
		}
	} catch (error) {
		if (error.name === "AbortError" || error instanceof ServiceError) throw error;
		throw new ServiceError("The connection broke in the middle of the answer.");
	}
}

function read(type, data) {
	switch (type) {
		case "status":
			return { kind: "status", text: data.content };
		case "thinking_delta":
			return { kind: "thinking", text: data.content };
		case "thinking":
			return { kind: "thinking", text: data.data?.thinking ?? data.delta ?? "" };
		case "tool_call":
			return { kind: "status", text: `Calling ${data.tool_name || data.name}` };
		case "partial_response":
			return { kind: "text", text: data.data.message };
		case "content":
			return { kind: "text", text: data.delta };
		case "text_delta":
			return { kind: "text", text: data.content };
		case "error":
			return { kind: "error", error: data.message };
		case "stop":
			return data.is_error ? { kind: "error", error: data.error } : { kind: "end" };
		case "completion":
		case "done":
			return { kind: "end" };
	}
	return null;
}
