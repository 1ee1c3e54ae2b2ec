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

  // What stands below a row is brought in place; without script the same link loads the page with it.
  const expand = async link => {
    const row = link.closest("tr"), below = row.nextElementSibling, open = !(below && below.matches("tr.more"))
    if (open) {
      const url = new URL(link.dataset.part, location.href)
      url.searchParams.set("back", location.pathname + location.search)
      const answer = await fetch(url)
      if (!answer.ok) return location.assign(link.href)
      const parsed = document.createElement("template")
      parsed.innerHTML = await answer.text()
      row.after(parsed.content.querySelector("tr"))
    } else below.remove()
    link.textContent = open ? "▾" : "▸"
    link.setAttribute("aria-expanded", open)
  }
  document.addEventListener("click", event => {
    const link = event.target.closest?.("tr[data-row] a[data-part], tr[data-row] a.row")
    const own = link?.dataset.part ? link : link?.closest("tr").querySelector("a[data-part]")
    if (own && !event.metaKey && !event.ctrlKey) { event.preventDefault(); expand(own) }
  })
  // When all is loaded, for the browser itself takes the focus away as it goes to the place after #.
  // It may do so a frame or two after that.
  const back = frames => {
    if (document.activeElement === document.body) document.getElementById(location.hash.slice(1))?.querySelector("a.row")?.focus()
    if (frames) requestAnimationFrame(() => back(frames - 1))
  }
  if (location.hash.startsWith("#a-")) addEventListener("load", () => back(10))

  // Keys: g and a letter goes, j and k move along rows, letters press the button that shows them.
  const sheet = document.getElementById("keys"), box = document.getElementById("keys-on")
  box.checked = !document.cookie.includes("tracewatch_keys=off")
  box.addEventListener("change", () => keep("keys", box.checked ? "on" : "off"))
  document.querySelectorAll("[data-keys]").forEach(button => { button.hidden = false; button.addEventListener("click", () => sheet.showModal()) })
  let going = false
  const rows = () => [...document.querySelectorAll("a.inc, a.wfr, tr[data-row] a.row")].filter(each => each.offsetParent)
  // What is to be done about: what is selected, else the row that has the focus, else what the page is about.
  const act = key => {
    const find = (place, name) => place?.querySelector(`[data-${name}="${CSS.escape(key)}"]`)
    const bulk = find(document, "bulk"), row = document.activeElement.closest("tr[data-row], tr.more")
    if (bulk && document.querySelector("input[name=id]:checked")) return bulk
    const mark = row?.querySelector("input[name=id]")
    const own = find(row, "act") || find(row?.nextElementSibling?.matches(".more") ? row.nextElementSibling : null, "act")
    if (own) return own
    if (mark && bulk) { mark.checked = true; return bulk }
    return row && "arsd".includes(key) ? row.querySelector("[data-expand]") : find(document, "key")
  }
  document.addEventListener("keydown", event => {
    if (event.target.closest("input:not([type=checkbox]), textarea, select, dialog[open], [contenteditable]") || event.metaKey || event.ctrlKey || event.altKey) return
    if (!box.checked && event.key !== "?") return
    if (going) {
      going = false
      const link = document.querySelector(`[data-go="${CSS.escape(event.key)}"]`)
      if (link) { event.preventDefault(); link.click() }
      return
    }
    const all = rows(), at = all.indexOf(document.activeElement), row = document.activeElement.closest("tr, li, .inc")
    const step = { j: 1, k: -1, ArrowDown: at >= 0 ? 1 : 0, ArrowUp: at >= 0 ? -1 : 0 }[event.key]
    if (step && all.length) { event.preventDefault(); (all[at + step] || all[at] || all[0]).focus() }
    else if (event.key === "?") { event.preventDefault(); sheet.showModal() }
    else if (event.key === "g") going = true
    else if (event.key === "/") { const field = document.querySelector("[data-filter]"); if (field) { event.preventDefault(); field.focus() } }
    else if (event.key === "u") { const odd = all.slice(at + 1).find(each => each.matches("[data-odd]")) || all.find(each => each.matches("[data-odd]")); odd?.focus() }
    else if (event.key === "e") row?.querySelector("[data-expand]")?.click()
    else if (event.key === "o" && at >= 0) all[at].click()
    else if (event.key === "x") { const mark = row?.querySelector("input[name=id]"); if (mark) mark.checked = !mark.checked }
    else if (event.key === ".") document.dispatchEvent(new Event("tracewatch:live"))
    else if (event.key === "Escape") document.querySelector("[data-clear]")?.click()
    else { const button = act(event.key); if (button) { event.preventDefault(); button.click() } }
  })
})()
