// A teacher's stops: views of the app in the order of the class, as JSON that a file or a link holds.

export const MOST_STOPS = 200;
const LONGEST = { title: 200, query: 4000 }; // characters

/** @typedef {{ title: string, page: string, query: string }} Stop a page's name, what stands behind "?" */

/**
 * The stops in a text, and what is wrong with it, as a sentence; "" if nothing is.
 *
 * @param {string} text
 * @param {string[]} pages that there are
 * @returns {{ stops: Stop[], problem: string }}
 */
export function readStops(text, pages) {
  let found;
  try {
    found = JSON.parse(text)?.stops;
  } catch {
    return { stops: [], problem: "This is no file of stops: it is not JSON. Save stops here, and load that file." };
  }
  if (!Array.isArray(found)) {
    return { stops: [], problem: 'This is no file of stops: it has no list named "stops".' };
  }
  const stops = found.filter((stop) => isStop(stop, pages)).slice(0, MOST_STOPS);
  const n_lost = found.length - stops.length;
  const problem = n_lost ? `${n_lost} of ${found.length} stops cannot be used here, and were left out.` : "";
  return { stops: stops.map(({ title, page, query }) => ({ title, page, query })), problem };
}

/** @param {any} stop @param {string[]} pages */
function isStop(stop, pages) {
  const isText = (/** @type {"title" | "query"} */ name) =>
    typeof stop?.[name] === "string" && stop[name].length <= LONGEST[name];
  return isText("title") && isText("query") && pages.includes(stop.page);
}

/** @param {Stop[]} stops */
export function written(stops) {
  return `${JSON.stringify({ stops }, null, 1)}\n`;
}

/** A link that brings the stops along. @param {string} app the address of the app @param {Stop[]} stops */
export function linkOf(app, stops) {
  return `${app}?stops=${encodeURIComponent(JSON.stringify({ stops }))}`;
}

/**
 * The page and the query of an address.
 *
 * @param {{ pathname: string, search: string }} address
 * @param {string[]} pages the first is the one at the root
 */
export function viewAt(address, pages) {
  const last = address.pathname.split("/").pop() ?? "";
  return { page: pages.includes(last) ? last : pages[0], query: address.search.replace(/^\?/, "") };
}
