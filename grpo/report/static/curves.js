// Read the values of a curve by pointer, touch or arrow keys. Without a script the tables below the curves have them.

/** Let every drawing within `root` say the values of the step under the pointer. */
export function readable(root) {
  for (const drawing of root.querySelectorAll("svg[data-readable]")) {
    const strips = [...drawing.querySelectorAll(".strip")];
    const readout = drawing.closest("figure").querySelector("output");
    let at = -1;
    const show = (place) => {
      strips[at]?.classList.remove("at");
      at = Math.max(0, Math.min(strips.length - 1, place));
      strips[at]?.classList.add("at");
      if (strips[at]) readout.textContent = strips[at].dataset.text;
    };
    strips.forEach((strip, place) => strip.addEventListener("pointerenter", () => show(place)));
    strips.forEach((strip, place) => strip.addEventListener("click", () => show(place)));
    drawing.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: strips.length - 1 }[event.key];
      if (way === undefined) return;
      event.preventDefault();
      show(way);
    });
  }
}
