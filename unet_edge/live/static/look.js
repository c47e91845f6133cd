/* How masks are drawn: the controls, their keys, and what this browser remembers of them. */

const KEY = "unet-edge-look";
const VIEWS = ["overlay", "mask", "picture"];
const STYLES = ["fill", "outlines"];

/** The choices of this page; `picture.js` says what they mean. Each style has its own opacity. */
export const look = {
  view: "overlay",
  style: "fill",
  opacities: { fill: 0.5, outlines: 1 },
  classes: [],
  get opacity() {
    return this.opacities[this.style];
  },
};

const radio = (name, value) => document.querySelector(`input[name="${name}"][value="${value}"]`);
const slider = document.getElementById("opacity");
const shortcuts = document.getElementById("shortcuts");

/** Connect the controls; `changed` is called when masks must be drawn again. */
export function connectLook(changed) {
  restore();
  show();
  const update = () => {
    show();
    remember();
    changed();
  };
  for (const name of ["view", "style"]) {
    for (const input of document.querySelectorAll(`input[name="${name}"]`)) {
      input.addEventListener("change", () => {
        look[name] = input.value;
        update();
      });
    }
  }
  slider.addEventListener("input", () => {
    look.opacities[look.style] = slider.valueAsNumber / 100;
    update();
  });
  shortcuts.addEventListener("change", remember);
  return {
    o: () => choose("style", STYLES, update),
    v: () => choose("view", VIEWS, update),
    "+": () => fade(0.1, update),
    "-": () => fade(-0.1, update),
  };
}

function choose(name, values, update) {
  look[name] = values[(values.indexOf(look[name]) + 1) % values.length];
  update();
}

function fade(step, update) {
  const opacity = Math.round(100 * (look.opacity + step)) / 100;
  look.opacities[look.style] = Math.min(1, Math.max(0, opacity));
  update();
}

function show() {
  radio("view", look.view).checked = true;
  radio("style", look.style).checked = true;
  slider.value = Math.round(100 * look.opacity);
  document.getElementById("opacity-value").textContent = `${slider.value} %`;
  slider.disabled = look.view !== "overlay";
}

/** Take over the classes of a model; the background is off, others keep what was chosen. */
export function setClasses(classes, hasBackground) {
  const before = new Map(look.classes.map(({ name, shown }) => [name, shown]));
  look.classes = classes.map(({ name, color }, index) => ({
    name,
    css: color,
    color: [1, 3, 5].map((at) => Number.parseInt(color.slice(at, at + 2), 16)),
    shown: before.get(name) ?? !(hasBackground && index === 0),
  }));
}

function remember() {
  const { view, style, opacities } = look;
  try {
    localStorage.setItem(KEY, JSON.stringify({ view, style, opacities, keys: shortcuts.checked }));
  } catch {
    // A browser without storage forgets.
  }
}

function restore() {
  let kept = {};
  try {
    kept = JSON.parse(localStorage.getItem(KEY) ?? "{}");
  } catch {
    return;
  }
  if (VIEWS.includes(kept.view)) look.view = kept.view;
  if (STYLES.includes(kept.style)) look.style = kept.style;
  for (const style of STYLES) {
    const opacity = kept.opacities?.[style];
    if (opacity >= 0 && opacity <= 1) look.opacities[style] = opacity;
  }
  if (kept.keys === false) shortcuts.checked = false;
}

/** Call a key's action, unless a control has a use for the key or keys are switched off. */
export function connectKeys(actions) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    if (!shortcuts.checked || document.querySelector("dialog[open]")) return;
    const { target } = event;
    if (target.matches("select, input:not([type=checkbox], [type=radio], [type=range])")) return;
    const usesSpace = target.matches("button, input, summary, a");
    if (event.key === " " && usesSpace) return;
    const action = /^[1-9]$/.test(event.key) ? actions.digit : actions[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action(Number(event.key));
  });
}
