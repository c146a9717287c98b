// The table of processes: filtered by what is typed, sorted by the column that is pressed.

const table = document.getElementById("process-table");
const filter = document.getElementById("filter");
const shown = document.getElementById("shown");

const KEYS = {
  name: (row) => row.name,
  host: (row) => row.host,
  cpu: (row) => row.cpu,
  memory: (row) => row.memory,
  busy: (row) => row.busy,
  tasks: (row) => row.executing + row.ready,
  ports: (row) => Math.min(...Object.values(row.ports)),
  since: (row) => row.since ?? 0,
  versions: (row) => row.versions.distributed ?? "",
};

const sorting = { key: null, down: false };
let known = new Map();

function text(row) {
  return [row.name, row.host, row.state, row.group, ...Object.values(row.ports)].join(" ");
}

function compare(one, other) {
  const [a, b] = [one, other].map((row) => KEYS[sorting.key](known.get(row.dataset.process)));
  const order = typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
  return sorting.down ? -order : order;
}

export function arrange() {
  const body = table.tBodies[0];
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const row of body.rows) {
    const said = text(known.get(row.dataset.process)).toLowerCase();
    row.hidden = !words.every((word) => said.includes(word));
    count += row.hidden ? 0 : 1;
  }
  shown.textContent = words.length ? `${count} of ${body.rows.length}` : "";
  if (sorting.key === null) return;
  const wanted = [...body.rows].sort(compare);
  // Rows are moved only where they are not in their place: a reader may be on one of them.
  wanted.forEach((row, i) => {
    if (body.rows[i] !== row) body.insertBefore(row, body.rows[i]);
  });
}

export function tell(processes) {
  known = new Map(processes.map((row) => [row.name, row]));
  arrange();
}

function press(head, key) {
  // A number is sorted downwards first: the largest are looked for.
  const first = typeof KEYS[key]([...known.values()][0]) === "number";
  sorting.down = sorting.key === key ? !sorting.down : first;
  sorting.key = key;
  for (const other of table.tHead.querySelectorAll("th")) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", sorting.down ? "descending" : "ascending");
  arrange();
}

export function begin(processes) {
  known = new Map(processes.map((row) => [row.name, row]));
  for (const head of table.tHead.querySelectorAll("[data-key]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    button.addEventListener("click", () => press(head, head.dataset.key));
    head.replaceChildren(button);
  }
  filter.addEventListener("input", arrange);
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      filter.focus();
    } else if (event.key === "Escape" && event.target === filter) {
      filter.value = "";
      arrange();
    }
  });
}
