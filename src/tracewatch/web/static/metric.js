// One metric in large: the server's picture once more in uPlot, where a stretch of time is chosen by dragging over it.
(() => {
  const place = document.querySelector("[data-u]")
  if (!place || !window.uPlot) return
  const it = JSON.parse(place.dataset.u), count = it.values.length, end = it.start + it.step * count
  const ink = name => { // tokens are light-dark(): only a used colour is resolved
    place.style.color = `var(${name})`
    const found = getComputedStyle(place).color
    place.style.color = ""
    return found
  }
  const iso = time => new Date(Math.round(time) * 1000).toISOString().slice(0, 19) + "Z"
  const at = share => it.start + share / 100 * (end - it.start)
  const [low, high] = it.top
  const worth = share => it.log ? high * (low / high) ** (share / 100) : high - share / 100 * (high - low)
  const times = it.values.map((_, index) => it.start + it.step * (index + .5))
  const plot = (width, height) => {
    const [grid, text, band, edge, typical, line, hue] = ["--grid", "--text-3", "--band", "--band-edge", "--typical", "--series", place.dataset.hue].map(ink)
    const font = `11px ${getComputedStyle(document.body).fontFamily}`
    const axis = { stroke: text, font, ticks: { show: false } }
    const inside = index => it.window && times[index] + it.step / 2 >= it.window[0] && times[index] - it.step / 2 <= it.window[1]
    const bad = it.values.map((value, index) => inside(index) ? value : null)
    const over = it.values.map((value, index) => !inside(index) || value == null || it.high[index] == null ? null
      : it.worse === "down" ? Math.min(value, it.low[index]) : Math.max(value, it.high[index]))
    return new uPlot({
      width, height, ms: 1, padding: [8, 0, 0, 0], legend: { show: false },
      cursor: { drag: { x: true, y: false, setScale: false }, points: { size: 7 }, y: false },
      scales: { x: { time: false, range: () => [it.start, end] }, y: { distr: it.log ? 3 : 1, range: () => it.top } },
      axes: [
        { ...axis, size: 24, grid: { show: false }, splits: () => it.x.map(tick => at(tick[0])), values: () => it.x.map(tick => tick[2] ? "" : tick[1]) },
        { ...axis, size: 54, gap: 6, grid: { stroke: grid, width: 1 }, splits: () => it.y.map(tick => worth(tick[0])), values: () => it.y.map(tick => tick[1]) },
      ],
      series: [
        {},
        { stroke: edge, width: 1, points: { show: false } },
        { stroke: edge, width: 1, points: { show: false } },
        { stroke: typical, width: 1, dash: [2, 3], points: { show: false } },
        { stroke: line, width: 1.6 },
        { stroke: hue, width: 2, points: { show: false } },
        { width: 0, points: { show: false } },
      ],
      bands: [{ series: [1, 2], fill: band }, { series: it.worse === "down" ? [2, 6] : [6, 1], fill: hue.replace("rgb(", "rgba(").replace(")", ", .16)") }],
      hooks: {
        setSelect: [u => {
          if (u.select.width < 8) return
          const to = new URL(place.dataset.here, location.href)
          to.searchParams.set("from", iso(u.posToVal(u.select.left, "x")))
          to.searchParams.set("to", iso(u.posToVal(u.select.left + u.select.width, "x")))
          location.assign(to)
        }],
        setCursor: [u => {
          const { left, top, idx } = u.cursor
          tip.style.display = left >= 0 && idx != null ? "block" : "none"
          if (idx == null) return
          tip.textContent = it.tips[idx]
          const x = left + 54
          tip.style.left = x > width * .6 ? "auto" : `${x + 10}px`
          tip.style.right = x > width * .6 ? `${width - x + 10}px` : "auto"
        }],
      },
    }, [times, it.high, it.low, it.typical.length ? it.typical : times.map(() => null), it.values, bad, over], place)
  }
  const tip = Object.assign(document.createElement("div"), { className: "tip" })
  const height = place.getBoundingClientRect().height
  place.style.minHeight = `${height}px`
  place.dataset.drawn = ""
  let drawn = plot(place.clientWidth, height)
  place.append(tip)
  place.addEventListener("dblclick", () => { if (new URL(location.href).searchParams.has("from")) history.back() })
  const again = () => { drawn.destroy(); drawn = plot(place.clientWidth, height) }
  new ResizeObserver(() => { if (Math.abs(place.clientWidth - drawn.width) > 1) drawn.setSize({ width: place.clientWidth, height }) }).observe(place)
  new MutationObserver(again).observe(document.documentElement, { attributeFilter: ["data-theme"] })
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again)
})()
