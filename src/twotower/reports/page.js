(() => {
  const tip = document.createElement("div");
  tip.id = "tip";
  tip.hidden = true;
  document.body.append(tip);
  const hide = () => { tip.hidden = true; };
  for (const svg of document.querySelectorAll(".points svg.chart")) {
    const points = [...svg.querySelectorAll("use")].filter((use) => use.querySelector("title"));
    const places = points.map((use) => {
      const title = use.querySelector("title");
      const text = title.textContent;
      title.remove();  // the browser's own tooltip would cover this one
      use.setAttribute("aria-label", text);
      return [use.x.baseVal.value, use.y.baseVal.value, text];
    });
    const show = (event) => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      let nearest = null;
      let best = event.pointerType === "touch" ? 14 : 6;
      for (const place of places) {
        const distance = Math.hypot(place[0] - at.x, place[1] - at.y);
        if (distance < best) { best = distance; nearest = place; }
      }
      if (!nearest) { hide(); return; }
      tip.textContent = nearest[2];
      tip.hidden = false;
      const left = Math.min(event.clientX + 12, window.innerWidth - tip.offsetWidth - 8);
      const below = event.clientY + 16;
      const top = below + tip.offsetHeight > window.innerHeight ? event.clientY - tip.offsetHeight - 12 : below;
      tip.style.left = `${Math.max(8, left)}px`;
      tip.style.top = `${top}px`;
    };
    svg.addEventListener("pointermove", show);
    svg.addEventListener("pointerdown", show);
    svg.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") hide(); });
  }
  window.addEventListener("scroll", hide, { passive: true });
})();
