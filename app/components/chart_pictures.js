// Pictures of charts for slides and papers. Streamlit's own button saves the bare chart under the time of day: its click is
// answered here, and the same is offered as SVG. A picture has a background and says what it shows; so does its name. And
// what is no picture of anything is kept from screen readers.
(() => {
  const MARGIN = 16, LINE = 20, SCALE = 2;
  const BUTTON = "button[aria-label^='Download as PNG'], button[aria-label^='Download as SVG']";

  const offerSvg = () => {
    for (const png of document.querySelectorAll("button[aria-label^='Download as PNG']")) {
      const place = png.closest("[data-testid=stElementToolbarButton]");
      if (place.nextElementSibling?.matches(".fs-svg")) continue;
      const svg = place.cloneNode(true);
      svg.classList.add("fs-svg");
      const button = svg.querySelector("button");
      button.ariaLabel = button.title = png.ariaLabel.replace("PNG", "SVG");
      place.after(svg);
    }
  };

  const hideBrushes = () => {  // Vega calls the box that a mouse draws an image and gives it no name: it says nothing
    for (const brush of document.querySelectorAll("svg.marks g[class*='_brush']:not([aria-hidden])")) brush.ariaHidden = "true";
  };

  const element = (name, attributes, ...children) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };

  const wrapped = (text, font, width) => {  // its lines, none wider than width unless one word is
    const pen = document.createElement("canvas").getContext("2d");
    pen.font = font;
    return text.split(" ").reduce((lines, word) => {
      const longer = lines.length ? `${lines.at(-1)} ${word}` : word;
      return lines.length && pen.measureText(longer).width <= width ? [...lines.slice(0, -1), longer] : [...lines, word];
    }, []);
  };

  const legend = (chart) => {  // of the chart's part of the page, else the last one above it; some charts share one
    const marks = [...document.querySelectorAll(":is(h2, h3, h4, .stVegaLiteChart, .fs-legend:has(.fs-line))")];
    const at = marks.indexOf(chart.closest(".stVegaLiteChart"));
    const after = marks.slice(at).find((mark) => mark.matches("h2, h3, h4, .fs-legend"));
    const found = after?.matches(".fs-legend") ? after : marks.slice(0, at).findLast((mark) => mark.matches(".fs-legend"));
    return [...(found?.children ?? [])].map((item) => [item.textContent, getComputedStyle(item.querySelector(".fs-line"))]);
  };

  const picture = (chart, title, subtitle) => {
    const { color, fontFamily } = getComputedStyle(document.querySelector("[data-testid=stApp]"));
    const width = chart.width.baseVal.value, height = chart.height.baseVal.value;
    const lines = [[title, 600, 15], [subtitle, 400, 12]].flatMap(([text, weight, size]) =>
      wrapped(text, `${weight} ${size}px ${fontFamily}`, width).map((line) => [line, weight, size]));
    const keys = legend(chart).map(([name, line], at) => [name, line, MARGIN + LINE * (lines.length + at) + 8]);
    const head = MARGIN + LINE * (lines.length + keys.length) + MARGIN / 2;
    const copy = chart.cloneNode(true);
    const shown = chart.querySelectorAll("text");  // with the colours that the page's style sheet gives them
    copy.querySelectorAll("text").forEach((text, at) => text.setAttribute("fill", getComputedStyle(shown[at]).fill));
    copy.setAttribute("x", MARGIN);
    copy.setAttribute("y", head);
    const size = { width: width + 2 * MARGIN, height: head + height + MARGIN };
    return element("svg", { ...size, viewBox: `0 0 ${size.width} ${size.height}` },
      element("title", {}, title),
      element("rect", { ...size, fill: chart.style.backgroundColor || "white" }),
      ...lines.map(([line, weight, size], at) => element("text", {
        x: MARGIN, y: MARGIN + LINE * at + 12, fill: color,
        "font-family": fontFamily, "font-weight": weight, "font-size": `${size}px`,
      }, line)),
      ...keys.map(([, line, y]) => element("line", {
        x1: MARGIN, x2: MARGIN + LINE, y1: y, y2: y, stroke: line.borderTopColor, "stroke-width": line.borderTopWidth,
        "stroke-dasharray": { dashed: "5 4", dotted: "2 3" }[line.borderTopStyle] ?? "none",
      })),
      ...keys.map(([name, , y]) => element("text", {
        x: MARGIN + 1.5 * LINE, y: y + 4, fill: color, "font-family": fontFamily, "font-size": "12px",
      }, name)),
      copy);
  };

  const withFont = async (svg) => {  // a picture that is drawn as an image sees none of the page's fonts
    const rules = [...document.styleSheets].flatMap((sheet) => [...sheet.cssRules]).filter((rule) =>
      rule instanceof CSSFontFaceRule && rule.style.fontFamily.includes("Source Sans") && rule.style.fontStyle !== "italic");
    for (const { style, parentStyleSheet } of rules.slice(0, 1)) {
      const [, address] = style.src.match(/url\("?([^")]+)/);
      const font = await (await fetch(new URL(address, parentStyleSheet.href ?? document.baseURI))).blob();
      const data = await new Promise((done) => {
        const reader = new FileReader();
        reader.onload = () => done(reader.result);
        reader.readAsDataURL(font);
      });
      const face = `@font-face { font-family: ${style.fontFamily}; font-weight: 200 900; src: url(${data}); }`;
      svg.prepend(element("style", {}, face));
    }
    return svg;
  };

  const asSvg = (svg) => new Blob([new XMLSerializer().serializeToString(svg)], { type: "image/svg+xml" });

  const asPng = async (svg) => {
    const image = new Image();
    image.src = URL.createObjectURL(asSvg(await withFont(svg)));
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.width * SCALE, image.height * SCALE];
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    URL.revokeObjectURL(image.src);
    return new Promise((done) => canvas.toBlob(done, "image/png"));
  };

  const save = async (chart, kind) => {
    const title = chart.closest("[aria-label]").ariaLabel;
    const subtitle = document.querySelector(".fs-subject").textContent;
    const svg = picture(chart, title, subtitle);
    const link = document.createElement("a");
    link.download = `${`${title} ${subtitle}`.replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 150)}.${kind}`;
    link.href = URL.createObjectURL(kind === "svg" ? asSvg(svg) : await asPng(svg));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };

  const answer = (event) => {
    const button = event.target.closest?.(BUTTON);
    const chart = button?.closest("[data-testid=stFullScreenFrame]")?.querySelector("[data-testid=stVegaLiteChart] svg.marks");
    if (!chart) return;
    event.stopPropagation();
    save(chart, button.ariaLabel.includes("SVG") ? "svg" : "png");
  };

  const complete = () => {
    offerSvg();
    hideBrushes();
  };

  if (window.featureshiftPictures) return;  // Streamlit runs this again when what the pictures are of has changed
  window.featureshiftPictures = new MutationObserver(complete);
  window.featureshiftPictures.observe(document.body, { childList: true, subtree: true });
  document.addEventListener("click", answer, true);
  complete();
})();
