// The only script of our own: theme and zone, one cursor for all charts of a page, keys, copying. Reading needs none of it.
(() => {
  const root = document.documentElement
  const keep = (name, value) => { document.cookie = `tracewatch_${name}=${encodeURIComponent(value)};path=/;max-age=31536000;samesite=lax` }
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone
  if (zone && !document.cookie.includes("tracewatch_zone=")) keep("zone", zone)
  document.querySelectorAll("[data-theme-switch]").forEach(button => {
    button.hidden = false
    button.addEventListener("click", () => {
      const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches
      root.dataset.theme = dark ? "light" : "dark"
      keep("theme", root.dataset.theme)
    })
  })

  const copy = async (button, text) => {
    await navigator.clipboard.writeText(text)
    const before = button.textContent
    button.textContent = "Copied"
    setTimeout(() => { button.textContent = before }, 1500)
  }
  document.querySelectorAll("[data-copy]").forEach(button => {
    button.hidden = false
    const from = button.dataset.copy
    button.addEventListener("click", () => copy(button, from === "link" ? location.href : from.startsWith("#") ? document.querySelector(from).textContent : from))
  })

  // One cursor: over one chart, every chart of the page shows the same moment.
  const plots = () => [...document.querySelectorAll("[data-tips]")].map(plot => {
    plot.tips ||= plot.dataset.tips.split("|")
    plot.cross ||= plot.appendChild(Object.assign(document.createElement("div"), { className: "cross" }))
    plot.tip ||= plot.appendChild(Object.assign(document.createElement("div"), { className: "tip" }))
    return plot
  })
  const show = (all, at) => all.forEach(plot => {
    const on = at >= 0 && at <= 1
    plot.cross.style.display = plot.tip.style.display = on ? "block" : "none"
    if (!on) return
    const place = Math.min(Math.floor(at * plot.tips.length), plot.tips.length - 1), x = (place + .5) / plot.tips.length * 100
    plot.cross.style.left = `${x}%`
    plot.tip.textContent = plot.tips[place]
    plot.tip.style.left = x > 60 ? "auto" : `calc(${x}% + 8px)`
    plot.tip.style.right = x > 60 ? `calc(${100 - x}% + 8px)` : "auto"
  })
  document.addEventListener("pointermove", event => {
    const plot = event.target.closest?.("[data-tips]"), all = plots()
    if (!plot) return all.forEach(each => { each.cross.style.display = each.tip.style.display = "none" })
    const box = plot.getBoundingClientRect()
    show(all, (event.clientX - box.left) / box.width)
  }, { passive: true })

  // Keys: g and a letter goes, j and k move along rows, letters press the button that shows them.
  let going = false
  const rows = () => [...document.querySelectorAll("a.inc, a.wfr, tr[data-row] a.row")].filter(each => each.offsetParent)
  document.addEventListener("keydown", event => {
    if (event.target.closest("input, textarea, select") || event.metaKey || event.ctrlKey || event.altKey) return
    if (going) {
      going = false
      const link = document.querySelector(`[data-go="${CSS.escape(event.key)}"]`)
      if (link) { event.preventDefault(); link.click() }
      return
    }
    const all = rows(), at = all.indexOf(document.activeElement)
    const step = { j: 1, k: -1, ArrowDown: at >= 0 ? 1 : 0, ArrowUp: at >= 0 ? -1 : 0 }[event.key]
    if (step) { event.preventDefault(); (all[at + step] || all[at] || all[0])?.focus() }
    else if (event.key === "g") going = true
    else if (event.key === "/") { const field = document.querySelector("[data-filter]"); if (field) { event.preventDefault(); field.focus() } }
    else if (event.key === "u") { const odd = all.slice(at + 1).find(each => each.matches("[data-odd]")) || all.find(each => each.matches("[data-odd]")); odd?.focus() }
    else if (event.key === "e") { const more = document.activeElement.closest("tr, li, .inc")?.querySelector("[data-expand]"); more?.click() }
    else { const button = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`); if (button) { event.preventDefault(); button.click() } }
  })
})()
