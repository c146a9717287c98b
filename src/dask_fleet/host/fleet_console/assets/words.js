// How the page writes numbers; fleet_console/words.py writes them alike, and a test compares them.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

export function size(count) {
  let unit = 0;
  while (count >= 999.5 && unit < UNITS.length - 1) {
    count /= 1024;
    unit += 1;
  }
  return `${count.toFixed(unit > 0 && count < 9.95 ? 1 : 0)} ${UNITS[unit]}`;
}

export function of(part, whole) {
  if (!whole) return size(part);
  const [number, unit] = size(part).split(" ");
  const second = size(whole);
  return `${second.endsWith(` ${unit}`) ? number : `${number} ${unit}`} of ${second}`;
}

export const amount = (count) => Math.round(count).toLocaleString("en-US");

export const share = (part, whole) =>
  whole ? Math.round(10 * Math.min(100, Math.max(0, (100 * part) / whole))) / 10 : 0;

export function duration(seconds) {
  const whole = Math.max(0, Math.trunc(seconds));
  const part = (length, within = Infinity) => Math.trunc((whole % within) / length);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${part(60)} min`;
  if (whole < 86400) return `${part(3600)} h ${part(60, 3600)} min`;
  return `${part(86400)} d ${part(3600, 86400)} h`;
}

// In the zone of whoever reads; without JavaScript it is UTC.
const MOMENT = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });
const CLOCK = new Intl.DateTimeFormat("sv-SE", { timeStyle: "medium" });
export const moment = (epoch) => MOMENT.format(new Date(1000 * epoch));
export const clock = (date) => CLOCK.format(date);

export function curve(values, most, places) {
  if (values.length < 2) return "";
  const step = 100 / (places - 1);
  const start = 100 - step * (values.length - 1);
  const top = most || Math.max(...values, 1);
  const points = values.map(
    (value, i) => `${(start + step * i).toFixed(1)} ${(29 - 28 * Math.min(1, value / top)).toFixed(1)}`,
  );
  return `M${points.join("L")}`;
}

export const area = (line) => (line ? `${line}L100 30L${line.slice(1).split(" ")[0]} 30Z` : "");
