// Puts the state of the fleet into the elements of the page. What has not changed is not touched.

import { amount, area, curve, duration, moment, of, share, size } from "./words.js";

const PLACES = 120;
const root = document;

function write(element, text) {
  if (element && element.textContent !== text) element.textContent = text;
}

function mark(element, name, value) {
  if (element && element.getAttribute(name) !== value) element.setAttribute(name, value);
}

function lead(element, path) {
  if (!element) return;
  element.hidden = path === null;
  if (path !== null) mark(element, "href", `../${path}`);
}

function bars(cell, ...widths) {
  let x = 0;
  cell.querySelectorAll("rect").forEach((rect, i) => {
    mark(rect, "x", String(x));
    mark(rect, "width", String(widths[i]));
    x += widths[i];
  });
}

const parts = (element) => {
  const found = {};
  for (const part of element.querySelectorAll("[data-part]")) found[part.dataset.part] = part;
  return found;
};

const transfer = (row) => `${size(row.net_read)}/s ${size(row.net_write)}/s`;

function process(element, row, now) {
  const part = parts(element);
  const worker = row.role === "worker";
  const missing = row.state === "missing";
  mark(element, "data-state", row.state);
  write(part.name, row.name);
  write(part.state, row.state);
  mark(part.state, "title", row.fault);
  write(part.host, row.host);
  write(part.cpu, `${amount(row.cpu)} %`);
  bars(part.cpu.parentElement, share(row.cpu, 100 * (row.nthreads || 1)));
  write(part.memory, of(row.memory, row.memory_limit));
  write(part.spilled, row.spilled ? `+ ${size(row.spilled)}` : "");
  bars(
    part.memory.parentElement,
    share(row.managed, row.memory_limit),
    share(row.unmanaged, row.memory_limit),
  );
  write(part.busy, worker ? `${row.busy} of ${row.nthreads}` : "");
  write(part.tasks, worker ? `${amount(row.executing)} + ${amount(row.ready)}` : "");
  write(part.ports, Object.values(row.ports).join(" "));
  mark(part.ports, "data-declared", row.as_declared || missing ? "yes" : "no");
  write(part.since, row.since === null ? "" : duration(now - row.since));
  if (row.since !== null) mark(part.since, "title", moment(row.since));
  write(part.versions, row.versions.distributed ?? "");
  mark(part.versions, "data-skew", row.skew.length || row.outdated ? "yes" : "no");
  for (const [name, path, what] of [
    ["dashboard", row.links.dashboard, "Dashboard of"],
    ["log", row.links.log, "Log of"],
    ["info", row.links.info, "Facts about"],
  ]) {
    lead(part[name], path);
    mark(part[name], "aria-label", `${what} ${row.name}`);
  }
}

function host(element, row) {
  const part = parts(element);
  mark(element, "data-state", row.state);
  write(part.state, row.state);
  const scheduler = row.scheduler ? " + scheduler" : "";
  write(part.workers, `${row.registered} of ${row.workers}${scheduler}`);
  write(part.cpu, `${amount(row.cpu)} %`);
  bars(part.cpu.parentElement, share(row.cpu, 100 * row.cpus));
  write(part.load, row.cpus ? `${row.load.toFixed(1)} of ${row.cpus}` : "");
  write(part.memory, row.memory ? of(row.memory_used, row.memory) : "");
  bars(part.memory.parentElement, share(row.memory_used, row.memory));
  write(part.disk, row.disk ? of(row.disk_free, row.disk) : "");
  bars(part.disk.parentElement, share(row.disk - row.disk_free, row.disk));
  write(part.net, transfer(row));
  if (row.clock !== null) {
    const sign = row.clock > 0 ? "+" : "";
    write(part.clock, Math.abs(row.clock) < 1 ? "right" : `${sign}${Math.round(row.clock)} s`);
  }
}

// Rows of a table by the name of what they show; those of strangers come and go.
function rows(body, key, items, template, fill) {
  const there = new Map();
  for (const row of body.rows) there.set(row.dataset[key], row);
  for (const item of items) {
    let row = there.get(item.name);
    if (!row && template) {
      row = template.content.firstElementChild.cloneNode(true);
      row.dataset[key] = item.name;
      body.append(row);
    }
    if (row) fill(row, item);
    there.delete(item.name);
  }
  for (const row of there.values()) row.remove();
}

function list(element, items, template, fill) {
  if (items.length === 0) {
    if (!element.querySelector(".empty")) {
      const empty = root.createElement("li");
      empty.className = "empty";
      empty.textContent = element.dataset.empty;
      element.replaceChildren(empty);
    }
    return;
  }
  element.querySelector(".empty")?.remove();
  while (element.children.length > items.length) element.lastElementChild.remove();
  while (element.children.length < items.length) {
    element.append(template.content.firstElementChild.cloneNode(true));
  }
  items.forEach((item, i) => fill(element.children[i], item));
}

// Words between backticks are commands or keys.
function writeMarked(element, text) {
  if (element.dataset.said === text) return;
  element.dataset.said = text;
  element.replaceChildren(
    ...text.split("`").map((piece, i) => {
      if (i % 2 === 0) return piece;
      const code = root.createElement("code");
      code.textContent = piece;
      return code;
    }),
  );
}

function finding(element, one) {
  const part = parts(element);
  mark(element, "data-severity", one.severity);
  write(part.severity, one.severity);
  write(part.place, one.place);
  writeMarked(part.fault, one.fault);
  writeMarked(part.remedy, one.remedy);
}

function event(element, one) {
  const part = parts(element);
  mark(element, "data-what", one.what);
  write(part.time, moment(one.time));
  write(part.name, one.name);
  write(part.words, one.what === "came" ? "has registered" : "has left");
  write(part.address, one.address);
}

function sums(totals, recent) {
  const texts = {
    registered: String(totals.registered),
    workers: String(totals.workers),
    "undeclared-words": totals.undeclared ? `${totals.undeclared} not declared, ` : "",
    "clients-words": `${totals.clients} client${totals.clients === 1 ? "" : "s"}`,
    busy: amount(totals.busy),
    "busy-rest": `of ${amount(totals.nthreads)}`,
    cpu: (totals.cpu / 100).toFixed(1),
    "cpu-rest": `of ${amount(totals.nthreads)}`,
    memory: of(totals.memory, totals.memory_limit).split(" of ")[0],
    "memory-rest": totals.memory_limit ? `of ${size(totals.memory_limit)}` : "",
    managed: size(totals.managed),
    spilled: size(totals.spilled),
    executing: amount(totals.executing),
    "executing-rest": `run, ${amount(totals.ready + totals.queued)} wait`,
    net_read: `${size(totals.net_read)}/s`,
    net_write: `${size(totals.net_write)}/s`,
  };
  for (const element of root.querySelectorAll("[data-total]")) {
    write(element, texts[element.dataset.total]);
  }
  const missing = totals.workers - totals.registered;
  bars(root.getElementById("registered"), share(totals.registered, totals.workers),
    share(missing, totals.workers));
  bars(
    root.getElementById("stack"),
    share(totals.managed, totals.memory_limit),
    share(totals.unmanaged, totals.memory_limit),
  );
  const most = { busy: totals.nthreads, cpu: 100 * totals.nthreads, memory: totals.memory_limit };
  for (const chart of root.querySelectorAll("[data-chart]")) {
    const key = chart.dataset.chart;
    const line = curve(recent[key], most[key], PLACES);
    mark(chart.querySelector(".line"), "d", line);
    mark(chart.querySelector(".area"), "d", area(line));
  }
}

function drawings(processes) {
  const known = new Map(processes.map((row) => [row.name, row]));
  for (const shape of root.querySelectorAll("[data-drawn]")) {
    const row = known.get(shape.dataset.drawn);
    if (!row) continue;
    mark(shape, "data-state", row.state);
    const level = shape.querySelector(".level");
    if (!level) continue;
    const busy = Math.min(1, row.cpu / (100 * Math.max(1, row.nthreads)));
    const length = Math.round(busy * level.dataset.whole * 10) / 10;
    if (level.dataset.foot) {
      mark(level, "height", String(length));
      mark(level, "y", String(level.dataset.foot - length));
    } else {
      mark(level, "width", String(length));
    }
    write(shape.querySelector("title"), `${row.name}: ${row.state}, ${row.cpu} % CPU`);
  }
}

export function show(status, now) {
  const byId = (name) => root.getElementById(name);
  sums(status.totals, status.recent);
  list(byId("findings"), status.warnings, byId("finding-row"), finding);
  list(byId("event-list"), status.events, byId("event-row"), event);
  drawings(status.processes);
  rows(byId("process-table").tBodies[0], "process", status.processes, byId("process-row"),
    (element, row) => process(element, row, now));
  rows(byId("host-table").tBodies[0], "host", status.hosts, null, host);
}
