/**
 * Lets a click that leads to another page wait until what was told before it is on its way.
 *
 * Streamlit sends what a component or a field tells in a task of its own, behind a page that was
 * chosen in the same breath; and what comes behind names the page before, which would blank the new
 * one. `flush` tells what is still held back. Returns what ends this.
 *
 * @param {() => void} flush
 */
export function leaveInTurn(flush) {
  let isReplayed = false;
  const leadsAway = (/** @type {Event} */ event) => {
    const link = /** @type {HTMLAnchorElement | null} */ (/** @type {Element} */ (event.target).closest?.("a[href]"));
    if (!link || link.target || link.hasAttribute("download")) return null;
    return link.origin === location.origin && link.pathname !== location.pathname ? link : null;
  };
  const pressed = (/** @type {Event} */ event) => {
    if (leadsAway(event)) flush(); // the earlier the better
  };
  const clicked = (/** @type {MouseEvent} */ event) => {
    const link = leadsAway(event);
    if (!link || isReplayed || event.ctrlKey || event.metaKey || event.shiftKey) return;
    flush();
    event.preventDefault();
    event.stopImmediatePropagation();
    setTimeout(() => {
      isReplayed = true;
      link.click();
      isReplayed = false;
    });
  };
  document.addEventListener("pointerdown", pressed, { capture: true });
  document.addEventListener("click", clicked, { capture: true });
  return () => {
    document.removeEventListener("pointerdown", pressed, { capture: true });
    document.removeEventListener("click", clicked, { capture: true });
  };
}
