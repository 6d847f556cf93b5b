//! Whether what is seen fits: nothing lies on something else, nothing is cut off, nothing is wider than the screen.

use serde_json::json;

use crate::chromium::Chromium;

/// Texts that lie on each other; texts, or boxes with texts, that are cut off; what sticks out of the screen's width. What can be
/// scrolled to counts as far as it is in view, and what is cut with an ellipsis on purpose (`MAY_BE_CUT`) does not.
const UNTIDY: &str = "(() => {
  const MAY_BE_CUT = '.list .words, .unseen, .skip';
  const found = [];
  const name = (element) => `${element.tagName.toLowerCase()}${element.id ? `#${element.id}` : ''}.${element.className}`;
  const hides = (value) => value === 'hidden' || value === 'clip';
  if (document.scrollingElement.scrollWidth > innerWidth) found.push(`the page is ${document.scrollingElement.scrollWidth} px wide`);

  const texts = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility() || element.closest('.unseen, .skip, noscript, script')) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const rect of range.getClientRects()) {
      let { left, top, right, bottom } = rect;
      for (let at = element; at && at !== document.body; at = at.parentElement) {
        const style = getComputedStyle(at);
        // Not seen: it is there to be read aloud.
        if (style.clipPath === 'inset(50%)') right = left;
        if (style.overflowX === 'visible' && style.overflowY === 'visible') continue;
        const box = at.getBoundingClientRect();
        [left, top] = [Math.max(left, box.left), Math.max(top, box.top)];
        [right, bottom] = [Math.min(right, box.right), Math.min(bottom, box.bottom)];
      }
      if (right - left < 1 || bottom - top < 1) continue;
      texts.push({ node, element, left, top, right, bottom });
      if (left < 0 || right > innerWidth) found.push(`outside of the screen: ${node.data.slice(0, 40)}`);
    }
  }
  texts.forEach((one, index) => texts.slice(index + 1).forEach((other) => {
    if (one.node === other.node) return;
    const [width, height] = [
      Math.min(one.right, other.right) - Math.max(one.left, other.left), Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top),
    ];
    if (width > 1 && height > 2) found.push(`on each other: ${one.node.data.slice(0, 40)} | ${other.node.data.slice(0, 40)}`);
  }));

  const holders = new Set();
  for (const { element } of texts) for (let at = element; at && at !== document.body; at = at.parentElement) holders.add(at);
  for (const element of holders) {
    if (element.closest(MAY_BE_CUT)) continue;
    const style = getComputedStyle(element);
    const [wider, higher] = [element.scrollWidth - element.clientWidth, element.scrollHeight - element.clientHeight];
    if (hides(style.overflowX) && wider > 1) found.push(`cut off at its right, ${wider} px: ${name(element)} ${element.textContent.slice(0, 40)}`);
    if (hides(style.overflowY) && higher > 2) found.push(`cut off at its end, ${higher} px: ${name(element)} ${element.textContent.slice(0, 40)}`);
    if (style.overflowX === 'auto' && wider > 1) found.push(`has to be scrolled sideways, ${wider} px: ${name(element)}`);
  }
  return { texts: texts.length, found: [...new Set(found)] };
})()";

/// See [`UNTIDY`].
#[track_caller]
pub(super) fn assert_tidy(chromium: &Chromium) {
    let seen = chromium.value(UNTIDY);
    assert!(seen["texts"].as_u64() > Some(20), "{seen}");
    assert_eq!(seen["found"], json!([]), "at {}", chromium.value("innerWidth"));
}
