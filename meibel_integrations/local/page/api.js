// Requests to the service. The key lives in this tab only; a link's token is traded for it once.

const STORED = "meibel-local-key";
let key = sessionStorage.getItem(STORED) || "";

export class ServiceError extends Error {
	constructor(message, status = 0) {
		super(message);
		this.status = status;
	}
}

export const hasKey = () => key !== "";

export function setKey(value) {
	key = value;
	if (value) sessionStorage.setItem(STORED, value);
	else sessionStorage.removeItem(STORED);
}

// The token leaves the address bar before anything else happens.
export async function tradeToken() {
	const match = /^#token=([\w-]+)$/.exec(location.hash);
	if (!match) return;
	history.replaceState(null, "", location.pathname);
	if (hasKey()) {
		// Another service may have been here: the key of this tab is kept only if it works.
		try {
			await call("/_local/service");
			return;
		} catch (error) {
			if (error.status === 401) setKey("");
		}
	}
	setKey((await call("/_local/key", { json: { token: match[1] } })).key);
}

// Which header carries the key depends on whose wire it is.
function headers(path) {
	if (!key) return {};
	return path.startsWith("/api/") ? { Authorization: `Bearer ${key}` } : { "Meibel-API-Key": key };
}

export async function request(path, { method, json, form, signal } = {}) {
	const options = { headers: headers(path), method: method || (json || form ? "POST" : "GET"), signal };
	if (json) {
		options.body = JSON.stringify(json);
		options.headers["Content-Type"] = "application/json";
	}
	if (form) options.body = form;
	options.redirect = "manual";
	let response;
	try {
		response = await fetch(path, options);
	} catch (error) {
		if (error.name === "AbortError") throw error;
		throw new ServiceError("The service cannot be reached, or ended the connection.");
	}
	if (response.ok) return response;
	throw new ServiceError(await reason(response), response.status);
}

export async function call(path, options) {
	const response = await request(path, options);
	return response.status === 204 ? null : response.json();
}

async function reason(response) {
	if (response.type === "opaqueredirect") return "The service answered with a redirect, which is not followed.";
	const text = await response.text().catch(() => "");
	let said = "";
	try {
		const { message, detail, error } = JSON.parse(text);
		said = message || (Array.isArray(detail) ? detail.map((item) => item.msg).join("; ") : detail) || error?.message || error;
	} catch {
		said = "the answer is not the service's";
	}
	return `The service answered ${response.status}: ${said || response.statusText}`;
}

export const query = (fields) =>
	new URLSearchParams(Object.entries(fields).filter(([, value]) => value !== undefined && value !== null && value !== ""));

// Runs a load; what comes back after a newer one began is thrown away.
export function newest() {
	let number = 0;
	return async (load, show) => {
		const mine = ++number;
		const found = await load();
		if (mine === number) show(found);
	};
}
