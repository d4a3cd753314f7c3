// Start: the key, then the three parts of the page and what they tell each other.

import { call, hasKey, setKey, tradeToken } from "./api.js";
import { createChat } from "./chat.js";
import { h, icon, iconButton } from "./dom.js";
import { createInspector } from "./inspector.js";
import { createSidebar } from "./sidebar.js";

const app = document.getElementById("app");
const narrow = matchMedia("(max-width: 1080px)");
const THEMES = ["light dark", "light", "dark"];
const THEME_NAMES = ["as the system", "light", "dark"];

function setTheme(theme) {
	document.documentElement.style.colorScheme = THEMES[theme];
	localStorage.setItem("meibel-local-theme", theme);
}

export function themeButton() {
	let theme = Number(localStorage.getItem("meibel-local-theme")) || 0;
	setTheme(theme);
	const button = iconButton("theme", "", () => {
		theme = (theme + 1) % THEMES.length;
		setTheme(theme);
		label();
	});
	const label = () => {
		button.title = `Colours: ${THEME_NAMES[theme]}`;
		button.setAttribute("aria-label", button.title);
	};
	label();
	return button;
}

async function askForKey(problem) {
	const input = h("input", { id: "key", type: "password", required: true, autocomplete: "off", spellcheck: "false" });
	const told = h("p.problem", { role: "alert" }, problem || "");
	return new Promise((resolve) => {
		const form = h(
			"form",
			{
				class: "gate",
				onsubmit: async (event) => {
					event.preventDefault();
					setKey(input.value.trim());
					try {
						resolve(await call("/_local/service"));
						form.parentElement.remove();
					} catch (error) {
						setKey("");
						told.textContent = error.status === 401 ? "That is not a key of this service." : error.message;
						input.select();
					}
				},
			},
			h("img", { src: "/page/icon.svg", alt: "", width: "40", height: "40" }),
			h("h1", "Meibel local"),
			h("p", "This page shows one key's documents and conversations. A link that the service prints or opens needs no key."),
			h("label", { for: "key" }, "Key"),
			input,
			told,
			h("button.primary", { type: "submit" }, "Open"),
		);
		app.hidden = true;
		app.before(h("main", form));
		input.focus();
	});
}

async function service() {
	let problem = "";
	try {
		await tradeToken();
		if (hasKey()) return await call("/_local/service");
	} catch (error) {
		if (error.status !== 401 && error.status !== 403) throw error;
		problem = hasKey() ? "The key of this tab is not one of this service's any more." : `${error.message}.`;
		setKey("");
	}
	return askForKey(problem);
}

// On a narrow screen a panel covers the page: what is behind it cannot be reached.
function panels() {
	const shown = { sidebar: false, inspector: !narrow.matches };
	let before = null;
	function show(panel, visible, focus = true) {
		shown[panel] = visible;
		if (visible && narrow.matches) {
			if (!app.querySelector(`#${panel}`).contains(document.activeElement)) before = document.activeElement;
			for (const other of Object.keys(shown)) if (other !== panel) shown[other] = false;
		}
		apply();
		if (!narrow.matches || !focus) return;
		if (visible) document.querySelector(`#${panel} button`)?.focus();
		else if (before?.isConnected) before.focus();
	}
	function apply() {
		for (const [panel, visible] of Object.entries(shown)) app.classList.toggle(`with-${panel}`, visible);
		const covering = narrow.matches && Object.keys(shown).find((panel) => shown[panel]);
		document.getElementById("chat").inert = Boolean(covering);
		document.getElementById("sidebar").inert = narrow.matches && covering !== "sidebar";
		document.getElementById("inspector").inert = !shown.inspector;
	}
	narrow.addEventListener("change", () => {
		shown.inspector = !narrow.matches;
		shown.sidebar = false;
		apply();
	});
	addEventListener("keydown", (event) => {
		if (event.key === "Escape" && narrow.matches) for (const panel of Object.keys(shown)) if (shown[panel]) show(panel, false);
	});
	apply();
	return { show, toggle: (panel) => show(panel, !shown[panel]) };
}

async function start() {
	const theme = themeButton();
	const about = await service();
	app.hidden = false;
	const page = { about, received: new Map(), ...panels() };
	page.open = (sessionId) => (location.hash = sessionId ? `#/s/${sessionId}` : "#/");
	page.inspector = createInspector(page);
	page.sidebar = createSidebar(page, theme);
	page.chat = createChat(page);
	const route = () => {
		const match = /^#\/s\/([\w-]+)$/.exec(location.hash);
		page.chat.show(match ? match[1] : null);
		page.sidebar.mark(match ? match[1] : null);
		if (narrow.matches) page.show("sidebar", false);
	};
	addEventListener("hashchange", route);
	route();
}

start().catch((error) => {
	app.hidden = false;
	document.getElementById("chat").replaceChildren(
		h("div.gate", h("h1", icon("close"), "The page cannot start"), h("p.problem", { role: "alert" }, error.message)),
	);
});
