/* Offsets of the server count code points; strings here count UTF-16 units. */

/** The unit at which code point `points` of `text` begins; the end of the text where it has fewer. */
export function unitAt(text, points) {
  let unit = 0;
  for (let point = 0; point < points && unit < text.length; point += 1) {
    unit += text.codePointAt(unit) > 0xffff ? 2 : 1;
  }
  return unit;
}

/** `text[start:end]` in code points. */
export function slice(text, start, end) {
  const from = unitAt(text, start);
  return text.slice(from, from + unitAt(text.slice(from), end - start));
}

/** How many code points a text has. */
export function points(text) {
  let number = 0;
  for (let unit = 0; unit < text.length; number += 1) unit += text.codePointAt(unit) > 0xffff ? 2 : 1;
  return number;
}
