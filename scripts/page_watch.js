// Watches the live page for some seconds, scrolling or not, and counts its frames and updates; runs in the page.
const [seconds, scrolls, done] = arguments, frames = [], updates = [];
const seen = new MutationObserver(() => updates.push(performance.now()));
seen.observe(document.querySelector("#tiles"), { subtree: true, childList: true, characterData: true });
const began = performance.now(), tallest = document.body.scrollHeight - innerHeight;
function frame(now) {
  frames.push(now);
  const past = (now - began) / 1000;
  if (scrolls) scrollTo(0, tallest * (0.5 - 0.5 * Math.cos(past)));
  if (past < seconds) return requestAnimationFrame(frame);
  seen.disconnect();
  const counts = Array(Math.floor(seconds)).fill(0), gaps = frames.slice(1).map((at, index) => at - frames[index]);
  for (const at of frames) if (at - began < 1000 * counts.length) counts[Math.floor((at - began) / 1000)] += 1;
  done({ worst_fps: Math.min(...counts), mean_fps: frames.length / seconds, longest_ms: Math.max(...gaps),
         updates_per_s: new Set(updates.map((at) => Math.round(at / 200))).size / seconds });
}
requestAnimationFrame(frame);
