"use strict";
// All text of the guest's reaches the page as text (textContent, fillText), never as markup.
const data = JSON.parse(document.getElementById("data").textContent);
const [at, make] = [(id) => document.getElementById(id), (tag, text, style) => {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (style) made.className = style;
  return made;
}];
const hits = data.hits, stages = data.stages;
const colour = (probe) => getComputedStyle(document.documentElement).getPropertyValue(`--c${probe % 8}`).trim();
const number = (n) => n.toLocaleString("en");
const duration = (ns) => ns < 1e3 ? `${ns} ns` : ns < 1e6 ? `${+(ns / 1e3).toPrecision(4)} µs`
  : ns < 1e9 ? `${+(ns / 1e6).toPrecision(4)} ms` : `${+(ns / 1e9).toPrecision(4)} s`;
const table = (headings, rows) => {
  const made = make("table"), head = made.appendChild(make("tr"));
  for (const [text, right] of headings) head.append(make("th", text, right ? "n" : ""));
  for (const cells of rows) {
    const line = made.appendChild(make("tr"));
    cells.forEach((cell, index) => {
      const made = make("td", undefined, headings[index][1] ? "n" : "");
      made.append(cell);
      line.append(made);
    });
  }
  return made;
};

at("about").textContent = `${data.guest}, by the rules of kprobes in ${data.era}: ${number(hits.length)} hits`
  + (data.before ? `, without ${number(data.before)} stages of hits before them` : "")
  + (data.lost ? `; ${number(data.lost)} stages were lost` : "");

// Probes

at("probes").append(table([["probe"], ["kind"], ["hits", true], ["calls", true], ["median", true], ["longest", true]],
  data.probes.map(([name, kind], probe) => {
    const mine = hits.filter((hit) => hit.probe === probe);
    const times = mine.map((hit) => hit.end - hit.start).filter((time, i) => mine[i].call).sort((a, b) => a - b);
    const shown = make("span"), key = shown.appendChild(make("i", undefined, "key"));
    key.style.background = `var(--c${probe % 8})`;
    shown.append(name);
    return [shown, kind, number(mine.length), ...(times.length
      ? [number(times.length), duration(times[times.length >> 1]), duration(times[times.length - 1])] : ["", "", ""])];
  })));

// Timeline

const canvas = at("timeline"), ROW = 15, HEAD = 16, AXIS = 20;
const first = hits.reduce((time, hit) => Math.min(time, hit.start), Infinity);
const last = hits.reduce((time, hit) => Math.max(time, hit.end), -Infinity);
const tracks = data.tasks.map((name, task) => ({ name, rows: 1 }));
for (const hit of hits) tracks[hit.task].rows = Math.max(tracks[hit.task].rows, hit.depth + 1);
let height = AXIS;
for (const track of tracks) { track.top = height; height += HEAD + track.rows * ROW + 4; }
let from = first, to = Math.max(last, first + 1), selected = -1;
const whole = () => { const some = (last - first) * 0.01 + 1; from = first - some; to = last + some; };
whole();
const x = (time) => (time - from) / (to - from) * canvas.clientWidth;

const draw = () => {
  const scale = window.devicePixelRatio || 1, width = canvas.clientWidth;
  canvas.width = width * scale; canvas.height = height * scale; canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink"), faint = style.getPropertyValue("--faint");
  pen.scale(scale, scale);
  pen.font = "11px ui-monospace, monospace";
  const step = 10 ** Math.ceil(Math.log10((to - from) / width * 60));
  for (let time = Math.ceil(from / step) * step; time <= to; time += step) {
    pen.fillStyle = style.getPropertyValue("--line"); pen.fillRect(x(time), 0, 1, height);
    const label = duration(time);
    if (time >= 0 && x(time) + 4 + pen.measureText(label).width < width && (step / (to - from) * width > 90
      || Math.round(time / step) % 2 === 0)) { pen.fillStyle = faint; pen.fillText(label, x(time) + 4, 12); }
  }
  for (const track of tracks) { pen.fillStyle = ink; pen.fillText(track.name, 2, track.top + 12); }
  hits.forEach((hit, index) => {
    if (hit.end < from || hit.start > to) return;
    const left = x(hit.start), wide = Math.max(hit.call ? 1.5 : 2, x(hit.end) - left);
    const top = tracks[hit.task].top + HEAD + hit.depth * ROW;
    pen.fillStyle = colour(hit.probe);
    pen.fillRect(left, top, wide, hit.call ? ROW - 2 : ROW - 5);
    const name = data.probes[hit.probe][0];
    if (pen.measureText(name).width + 8 < wide) {
      pen.fillStyle = style.getPropertyValue("--card"); pen.fillText(name, Math.max(left, 0) + 4, top + 10);
    }
    if (index === selected) { pen.strokeStyle = ink; pen.lineWidth = 2; pen.strokeRect(left - 2, top - 2, wide + 4, ROW + 2); }
  });
  at("span").textContent = `${duration(Math.max(0, Math.round(from)))} to ${duration(Math.round(to))}`;
};

const zoom = (factor, centre) => {
  const wide = Math.min(Math.max((to - from) * factor, 20), (last - first) * 1.1 + 100);
  from = centre - (centre - from) * wide / (to - from); to = from + wide; draw();
};
const middle = () => (from + to) / 2;
const nearest = (px, py) => {
  let best = -1, distance = 8;
  hits.forEach((hit, index) => {
    const top = tracks[hit.task].top + HEAD + hit.depth * ROW;
    if (py < top || py > top + ROW) return;
    const away = Math.max(x(hit.start) - px, px - Math.max(x(hit.end), x(hit.start) + 2), 0);
    if (away <= distance) { best = index; distance = away; }
  });
  return best;
};
let dragged = null;
canvas.addEventListener("pointerdown", (event) => { dragged = { x: event.offsetX, from, moved: false }; });
canvas.addEventListener("pointermove", (event) => {
  if (!dragged || !(event.buttons & 1)) return;
  if (Math.abs(event.offsetX - dragged.x) > 3) dragged.moved = true;
  if (dragged.moved) {
    const wide = to - from;
    from = dragged.from - (event.offsetX - dragged.x) / canvas.clientWidth * wide; to = from + wide; draw();
  }
});
canvas.addEventListener("pointerup", (event) => {
  if (dragged && !dragged.moved) { const found = nearest(event.offsetX, event.offsetY); if (found >= 0) choose(found); }
  dragged = null;
});
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(event.deltaY > 0 ? 1.25 : 0.8, from + event.offsetX / canvas.clientWidth * (to - from));
}, { passive: false });
at("in").addEventListener("click", () => zoom(0.5, middle()));
at("out").addEventListener("click", () => zoom(2, middle()));
at("all").addEventListener("click", () => { whole(); draw(); });
at("before").addEventListener("click", () => choose(Math.max(selected - 1, 0)));
at("after").addEventListener("click", () => choose(Math.min(selected + 1, hits.length - 1)));
canvas.addEventListener("keydown", (event) => {
  const wide = (to - from) / 8;
  const does = { "+": () => zoom(0.5, middle()), "-": () => zoom(2, middle()), "0": () => { whole(); draw(); },
    ArrowLeft: () => { from -= wide; to -= wide; draw(); }, ArrowRight: () => { from += wide; to += wide; draw(); } }[event.key];
  if (does) { event.preventDefault(); does(); }
});

// Registers of the chosen hit, at each of its stages

const choose = (index) => {
  if (!hits.length) return;
  selected = index;
  const hit = hits[index], shown = hit.stages.map((stage) => stages[stage]);
  if (hit.start < from || hit.start > to) { const wide = to - from; from = hit.start - wide / 2; to = from + wide; }
  at("chosen").textContent = `${data.probes[hit.probe][0]}, hit ${number(hit.number)}`;
  const rows = [["time", ...shown.map((stage) => `${(stage.time / 1e9).toFixed(9)} s`)],
    ["instruction", ...shown.map((stage) => number(stage.position))],
    ["task", ...shown.map((stage) => data.tasks[stage.task])]];
  for (const [name, field] of [["at", "symbol"], ["returns to", "caller"], ["print", "note"]])
    if (shown.some((stage) => stage[field])) rows.push([name, ...shown.map((stage) => stage[field] || "")]);
  if (hit.call) rows.push(["took", ...shown.map((stage, place) => place ? duration(hit.end - hit.start) : "")]);
  for (const name of new Set(shown.flatMap((stage) => Object.keys(stage.args))))
    rows.push([name, ...shown.map((stage) => stage.args[name] ?? "")]);
  rows.push(["pstate", ...shown.map((stage) => stage.pstate)]);
  data.registers.forEach((name, place) => rows.push([name, ...shown.map((stage) => stage.words[place] || "")]));
  const made = table([["stage"], ...shown.map((stage) => [stage.stage])], rows);
  for (const line of made.querySelectorAll("tr")) {
    const cells = [...line.querySelectorAll("td")];
    const register = cells.length && (data.registers.includes(cells[0].textContent) || cells[0].textContent === "pstate");
    cells.slice(2).forEach((cell, place) => {
      if (register && cell.textContent !== cells[place + 1].textContent) cell.className = "changed";
    });
  }
  at("registers").replaceChildren(made);
  history.replaceState(null, "", `#hit=${index}`);
  draw();
};

// Histograms

const bars = (into, rows, shade) => {
  const most = Math.max(...rows.map(([, count]) => count));
  for (const [name, count] of rows) {
    const line = into.appendChild(make("div", undefined, "bar"));
    const label = line.appendChild(make("span", name, "mono")), bar = line.appendChild(make("span")).appendChild(make("i"));
    label.title = name;
    bar.style.width = `${count / most * 100}%`;
    if (shade) bar.style.background = shade;
    bar.hidden = !count;
    line.append(make("span", number(count), "mono"));
  }
};
data.probes.forEach(([name], probe) => {
  const buckets = new Map();
  for (const hit of hits) if (hit.call && hit.probe === probe) {
    const bucket = Math.floor(Math.log2(Math.max(hit.end - hit.start, 1)));
    buckets.set(bucket, (buckets.get(bucket) || 0) + 1);
  }
  if (!buckets.size) return;
  at("times").append(make("h3", name));
  const low = Math.min(...buckets.keys()), high = Math.max(...buckets.keys());
  const rows = [];
  for (let bucket = low; bucket <= high; bucket++)
    rows.push([`${duration(2 ** bucket)} to ${duration(2 ** (bucket + 1))}`, buckets.get(bucket) || 0]);
  bars(at("times"), rows, `var(--c${probe % 8})`);
});
if (!at("times").children.length) at("times").append(make("p", "No kretprobe has seen a call from its entry to its return."));
const byTask = data.tasks.map((name, task) => [name, hits.filter((hit) => hit.task === task).length]);
bars(at("tasks"), byTask.sort((a, b) => b[1] - a[1]).slice(0, 20));

// Flame graph

const root = { name: "all", count: 0, children: new Map() };
for (const [names, count] of data.stacks) {
  let node = root;
  node.count += count;
  for (const name of names) {
    if (!node.children.has(name)) node.children.set(name, { name, count: 0, children: new Map() });
    node = node.children.get(name);
    node.count += count;
  }
}
const hue = (name) => [...name].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 997, 7) % 45 + 8;
const flame = (top) => {
  const place = at("flame");
  place.replaceChildren();
  let deepest = 0;
  const put = (node, left, wide, depth) => {
    if (wide < 0.05) return;
    deepest = Math.max(deepest, depth);
    const bar = place.appendChild(make("button", node.name));
    bar.style.left = `${left}%`; bar.style.width = `${wide}%`; bar.style.top = `${depth * 21}px`;
    bar.style.background = `hsl(${hue(node.name)} var(--flame-s) var(--flame-l))`;
    bar.title = `${node.name}: ${number(node.count)} hits, ${(node.count / root.count * 100).toFixed(1)} %`;
    bar.addEventListener("click", () => flame(node === top ? root : node));
    let next = left;
    for (const child of node.children.values()) {
      const share = wide * child.count / node.count;
      put(child, next, share, depth + 1);
      next += share;
    }
  };
  if (top.count) put(top, 0, 100, 0);
  place.style.height = `${(deepest + 1) * 21}px`;
};
flame(root);

window.addEventListener("resize", draw);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
const asked = /^#hit=(\d+)$/.exec(location.hash);
if (hits.length) choose(asked ? Math.min(Number(asked[1]), hits.length - 1) : 0); else at("registers").append(make("p", "no hits"));
