// What a test asks of a page that it looks at: every text, where it is, and its colours; also of canvases.
(() => {
  const drawn = [];
  const context = CanvasRenderingContext2D.prototype, own = HTMLCanvasElement.prototype.getContext;
  HTMLCanvasElement.prototype.getContext = function (...kind) { drawn.length = 0; return own.apply(this, kind); };
  for (const name of ["fillRect", "fillText"]) {
    const draw = context[name];
    context[name] = function (...given) {
      const [text, x, y] = name === "fillText" ? given : ["", ...given];
      const size = name === "fillText" ? this.measureText(text) : null;
      drawn.push(size
        ? { text, colour: this.fillStyle, left: x, right: x + size.width, top: y - size.actualBoundingBoxAscent,
          bottom: y + size.actualBoundingBoxDescent }
        : { text, colour: this.fillStyle, left: given[0], top: given[1], right: given[0] + given[2],
          bottom: given[1] + given[3] });
      return draw.apply(this, given);
    };
  }
  const plain = (rect) => ({ left: rect.left + scrollX, right: rect.right + scrollX, top: rect.top + scrollY,
    bottom: rect.bottom + scrollY });
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!/, 0\)$/.test(colour)) return colour;
    }
    return "";
  };
  globalThis.drawnOnCanvas = drawn;
  globalThis.textsOfPage = () => {
    const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const element = node.parentElement, range = document.createRange();
      range.selectNodeContents(node);
      const rects = [...range.getClientRects()].filter((rect) => rect.width && rect.height);
      if (!node.data.trim() || !rects.length) continue;
      const style = getComputedStyle(element);
      let clip = null;
      for (let at = element; at && !clip; at = at.parentElement)
        if (getComputedStyle(at).overflowX !== "visible") clip = at;
      found.push({ text: node.data, rects: rects.map(plain), colour: style.color, behind: behind(element),
        title: element.closest("[title]")?.title ?? "", clip: clip && plain(clip.getBoundingClientRect()),
        scrolls: clip !== null && getComputedStyle(clip).overflowX === "auto",
        ellipsis: clip !== null && getComputedStyle(clip).textOverflow === "ellipsis" });
    }
    return found;
  };
})();
