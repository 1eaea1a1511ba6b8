"""A page by keyboard alone: what Tab reaches, and whether a reader sees where they are."""

STEP = """() => {
  const properties = ['outline', 'boxShadow', 'backgroundColor', 'borderColor', 'color', 'opacity', 'textDecorationLine',
    'visibility', 'display', 'transform'];
  const look = (element) => {  // of an element and of what it stands in: a field's frame is lit up, not the field
    const found = [];
    for (let at = element, up = 0; at && up < 8; at = at.parentElement, up++) {
      for (const part of [null, '::before', '::after']) {
        const style = getComputedStyle(at, part);
        found.push(properties.map((property) => style[property]).join(' '));
      }
    }
    return found.join(' / ');
  };
  const element = document.activeElement, last = window.walked.at(-1);
  if (last) last.isSeen = look(last.element) !== last.look;
  if (element === document.body) return 'end';
  if (last?.element === element) return 'stuck';
  window.walked.push({element, look: look(element)});
  return 'on';
}"""

OFFERED = """() => {
  const all = document.querySelectorAll(
    '[data-testid=stSidebar] a, [data-testid=stMain] :is(a[href], button, input, select, textarea, canvas[tabindex])');
  window.offered = [...all].filter((element) => element.tabIndex >= 0 && !element.disabled && element.checkVisibility());
  window.walked = [];
  document.activeElement.blur();
}"""

FOUND = """() => {
  const describe = (element) => (element.getAttribute('aria-label') || element.innerText || element.outerHTML).slice(0, 80);
  const choice = (element) => element.closest('[role=radiogroup], [data-testid=stButtonGroup]') ?? element;  // arrows go on
  const reached = new Set(window.walked.map((stop) => choice(stop.element)));
  return {
    unreached: window.offered.filter((element) => element.isConnected && !reached.has(choice(element))).map(describe),
    unseen: window.walked.filter((stop) => !stop.isSeen).map((stop) => describe(stop.element)),
  };
}"""


def walk(page, most: int = 600) -> tuple[int, list[str], list[str]]:
    """Press Tab from the page's top until it begins again.

    Returns: how many stops there were; what could have the focus and never had it; what looks the same when it has it.
    Raises AssertionError where Tab gets stuck or does not end.
    """
    page.add_style_tag(content="* { transition: none !important; animation: none !important; }")
    page.evaluate(OFFERED)
    for reached in range(most):
        page.keyboard.press("Tab")
        went = page.evaluate(STEP)
        if went == "end":
            found = page.evaluate(FOUND)
            return reached, found["unreached"], found["unseen"]
        assert went == "on", f"Tab does not leave {page.evaluate('() => document.activeElement.outerHTML')[:200]}"
    raise AssertionError(f"{most} times Tab and no end")
