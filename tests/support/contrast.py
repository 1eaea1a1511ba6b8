"""WCAG contrast of what stands on a page: every visible text against what is behind it, as Chromium composes them."""

from dataclasses import dataclass

ENOUGH, ENOUGH_FOR_ICONS = 4.5, 3.0
"""WCAG 2.2, success criteria 1.4.3 (text) and 1.4.11 (graphical objects)."""

SCRIPT = """() => {
  const one = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  one.canvas.width = one.canvas.height = 1;
  const known = new Map();
  const rgba = (text) => {  // whatever CSS calls the colour, as 4 numbers from 0 to 1
    if (!known.has(text)) {
      one.clearRect(0, 0, 1, 1);
      one.fillStyle = text;
      one.fillRect(0, 0, 1, 1);
      known.set(text, [...one.getImageData(0, 0, 1, 1).data].map((value) => value / 255));
    }
    return known.get(text);
  };
  const over = ([r, g, b, a], [R, G, B, A]) => {
    const alpha = a + A * (1 - a);
    const mix = (x, y) => alpha ? (x * a + y * A * (1 - a)) / alpha : 0;
    return [mix(r, R), mix(g, G), mix(b, B), alpha];
  };
  const seen = (colour, element) => {  // a pixel of this colour in front of an element, with everything behind it
    for (let at = element; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (!(at instanceof SVGElement) || at.tagName === 'svg') colour = over(colour, rgba(style.backgroundColor));
      colour = [...colour.slice(0, 3), colour[3] * Number(style.opacity)];
    }
    const dark = getComputedStyle(document.documentElement).colorScheme.includes('dark');
    return over(colour, dark ? [0, 0, 0, 1] : [1, 1, 1, 1]);
  };
  const mark = (text, box) => {  // the last shape of a chart that was drawn below a text, around all of it
    const shapes = [...text.ownerSVGElement.querySelectorAll('path, rect')].filter((shape) => {
      const at = shape.getBoundingClientRect();
      return shape.compareDocumentPosition(text) & Node.DOCUMENT_POSITION_FOLLOWING
        && at.left <= box.left && at.right >= box.right && at.top <= box.top && at.bottom >= box.bottom;
    });
    return shapes.reduce((below, shape) => {
      const style = getComputedStyle(shape);
      const fill = style.fill === 'none' ? [0, 0, 0, 0] : rgba(style.fill);
      return over([...fill.slice(0, 3), fill[3] * Number(style.fillOpacity) * Number(style.opacity)], below);
    }, [0, 0, 0, 0]);
  };
  const light = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const hex = (colour) => '#' + colour.slice(0, 3).map((v) => Math.round(v * 255).toString(16).padStart(2, '0')).join('');
  const hidden = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (style.visibility !== 'visible' || Number(style.opacity) < 0.01) return true;
      if (style.clip === 'rect(0px, 0px, 0px, 0px)' || at.disabled || at.getAttribute('aria-disabled') === 'true') return true;
    }
    return false;
  };
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode, element = node.parentElement;
    if (!node.data.trim() || ['SCRIPT', 'STYLE', 'NOSCRIPT', 'TITLE', 'DESC'].includes(element.tagName)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect();
    if (box.width < 2 || box.height < 2 || hidden(element)) continue;
    const style = getComputedStyle(element);
    const paint = rgba(element instanceof SVGElement ? style.fill : style.color);
    const behind = element instanceof SVGElement ? mark(element, box) : [0, 0, 0, 0];
    const front = seen(over(paint, behind), element), back = seen(behind, element);
    const [low, high] = [light(front), light(back)].sort((a, b) => a - b);
    const path = [];
    for (let at = element; at && path.length < 5; at = at.parentElement) {
      const own = (at.getAttribute('class') || '').split(' ').find((name) => name.startsWith('fs-'));
      path.push(at.getAttribute('data-testid') || own || at.tagName.toLowerCase());
    }
    found.push({
      text: node.data.trim().slice(0, 40), ratio: (high + 0.05) / (low + 0.05), front: hex(front), back: hex(back),
      path: path.reverse().join(' > '), icon: element.closest('[data-testid=stIconMaterial]') !== null,
    });
  }
  return found;
}"""


@dataclass(frozen=True)
class Seen:
    """A text on a page.

    Attributes:
        ratio: contrast, 1 to 21.
        front, back: colours as they are seen, '#rrggbb'.
        path: of the elements around it.
        icon: whether it is one, drawn as a letter of a font.
    """

    text: str
    ratio: float
    front: str
    back: str
    path: str
    icon: bool

    @property
    def is_enough(self) -> bool:
        return self.ratio >= (ENOUGH_FOR_ICONS if self.icon else ENOUGH)


def measure(page) -> list[Seen]:
    """Every visible text of a page; what is disabled or drawn on a canvas is left out."""
    return [Seen(**found) for found in page.evaluate(SCRIPT)]
