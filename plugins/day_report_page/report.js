// Counts the plans of today. Text goes in as text: `textContent`, never markup.
const today = new Date().setHours(0, 0, 0, 0) / 1000;
const reply = await fetch(`../../history/get?since=${today}`);
const { items = [] } = reply.ok ? await reply.json() : {};
const counts = new Map();
for (const { user, result } of items) {
  const key = JSON.stringify([user, result.exit_status]);
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
const rows = [...counts].sort().map(([key, count]) => {
  const row = document.createElement("tr");
  for (const text of [...JSON.parse(key), count]) row.insertCell().textContent = text;
  return row;
});
document.querySelector("tbody").append(...rows);
