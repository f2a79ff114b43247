import assert from "node:assert/strict";
import { test } from "node:test";
import { linkOf, readStops, viewAt, written } from "../../../vae/live/js/stage/stops.js";

const PAGES = ["explore", "points"];
const STOPS = [
  { title: "A map & more", page: "explore", query: "run=a&mu=1,2" },
  { title: "<b>", page: "points", query: "" },
];

test("stops come back from a file and from a link as they were", () => {
  assert.deepEqual(readStops(written(STOPS), PAGES), { stops: STOPS, problem: "" });
  const brought = new URL(linkOf("http://host/vae/", STOPS)).searchParams.get("stops");
  assert.deepEqual(readStops(brought, PAGES).stops, STOPS);
});

test("what is no list of stops is a sentence", () => {
  for (const text of ["", "{", "7", "null", "[]", '{"stops": 3}']) {
    const { stops, problem } = readStops(text, PAGES);
    assert.deepEqual(stops, []);
    assert.match(problem, /no file of stops/);
  }
});

test("stops that cannot be used are counted, and the others taken", () => {
  const bad = [
    {},
    null,
    { ...STOPS[0], page: "nowhere" },
    { ...STOPS[0], title: 7 },
    { ...STOPS[0], query: "x".repeat(5000) },
  ];
  const { stops, problem } = readStops(JSON.stringify({ stops: [...bad, STOPS[1]] }), PAGES);
  assert.deepEqual(stops, [STOPS[1]]);
  assert.equal(problem, "5 of 6 stops cannot be used here, and were left out.");
});

test("a view is its page and what stands behind the question mark", () => {
  assert.deepEqual(viewAt({ pathname: "/vae/points", search: "?run=a" }, PAGES), { page: "points", query: "run=a" });
  assert.deepEqual(viewAt({ pathname: "/", search: "" }, PAGES), { page: "explore", query: "" });
});
