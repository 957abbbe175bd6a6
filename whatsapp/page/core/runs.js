// Which seqs of a chat are in this browser: sorted runs [first, last] without overlap. Pure.

/** The runs with [first, last] added; neighbours become one. */
export function addRun(runs, first, last) {
  const result = [];
  let [from, to] = [first, last];
  for (const [a, b] of runs) {
    if (b < from - 1) result.push([a, b]);
    else if (a > to + 1) continue;
    else [from, to] = [Math.min(a, from), Math.max(b, to)];
  }
  result.push([from, to]);
  for (const run of runs) if (run[0] > to + 1) result.push(run);
  return result;
}

/** The run that has `seq`, or null. */
export function runOf(runs, seq) {
  return runs.find(([first, last]) => first <= seq && seq <= last) ?? null;
}
