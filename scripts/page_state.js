// What the live page shows; runs in the page.
return {
  state: document.querySelector("#state").textContent, rows: document.querySelectorAll("#streams .row").length,
  wide: document.documentElement.scrollWidth - innerWidth, attacked: window.attacked === 1,
  hosts: [...new Set(performance.getEntriesByType("resource").map((each) => new URL(each.name).host))],
  drawn: [...document.querySelectorAll("#streams .latency canvas")].filter((each) => each.height !== 150).length,
};
