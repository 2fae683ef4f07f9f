// Say where something goes on beyond the edge, and let the keyboard scroll it.

/** Watch every region within `root` that may be wider or taller than what is seen of it. */
export function hintScrolling(root) {
  const observer = new ResizeObserver((entries) => entries.forEach((entry) => look(entry.target)));
  for (const region of root.querySelectorAll(".wide, .body, .answers dd")) observer.observe(region);
}

function look(region) {
  region.classList.toggle("overflowing", region.scrollWidth > region.clientWidth + 1);
  region.classList.toggle("more-below", region.scrollHeight > region.clientHeight + 4);
  if (region.matches(".body, dd")) region.tabIndex = region.matches(".more-below, .overflowing") ? 0 : -1;
}
