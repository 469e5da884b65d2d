// JSON as it was sent, on lines of its own. The text is never parsed: numbers, order and repeated names stay as they are.

const DEPTH_MAX = 20;

// A scanner rather than a regular expression: those overflow their stack on long strings.
function endOfToken(json, start) {
  if (json[start] !== '"') {
    let end = start + 1;
    if (!'{}[],:'.includes(json[start])) while (end < json.length && !' \t\r\n"{}[],:'.includes(json[end])) end += 1;
    return end;
  }
  let end = start + 1;
  while (end < json.length && json[end] !== '"') end += json[end] === '\\' ? 2 : 1;
  return end + 1;
}

/** The same JSON with one member on each line. Lines below `DEPTH_MAX` are not indented further. */
export function indented(json) {
  const parts = [];
  let depth = 0;
  let last = '';
  for (let at = 0; at < json.length;) {
    if (' \t\r\n'.includes(json[at])) {
      at += 1;
      continue;
    }
    const end = endOfToken(json, at);
    const token = json.slice(at, end);
    const opens = token === '{' || token === '[';
    const closes = token === '}' || token === ']';
    if (closes) depth -= 1;
    if (last === '{' || last === '[' ? !closes : last === ',' || closes) parts.push('\n', '  '.repeat(Math.max(0, Math.min(depth, DEPTH_MAX))));
    parts.push(token === ':' ? ': ' : token);
    if (opens) depth += 1;
    last = token;
    at = end;
  }
  return parts.join('');
}
