// Tab comes to a table and goes past it, and no more. Streamlit's tables choose their first cell when Tab comes to them, and
// the next one when it goes on; a chosen cell opens its row, so that who has no mouse would never get by. Here a table is
// entered by Enter, Space or an arrow.
(() => {
  if (window.featureshiftKeys) return;
  window.featureshiftKeys = true;
  const ENTER = ["Enter", " ", "ArrowDown", "ArrowUp", "ArrowLeft", "ArrowRight"];
  let passing = false, outside = null;
  document.addEventListener("keydown", (event) => {
    passing = event.key === "Tab";
    if (passing && event.target.closest?.(".stDataFrame")) event.stopPropagation();
    if (event.target === outside && ENTER.includes(event.key)) {
      outside = null;
      event.target.dispatchEvent(new FocusEvent("focusin", { bubbles: true }));
      event.stopPropagation();
      event.preventDefault();
    }
  }, true);
  document.addEventListener("pointerdown", () => { passing = false; }, true);
  document.addEventListener("focusin", (event) => {
    outside = passing && event.target.matches(".stDataFrame canvas") ? event.target : null;
    if (outside) event.stopPropagation();
  }, true);
})();
