// What comes while a page is open (htmx and its SSE extension bring it): which of it may be put in its place, and what waits.
(() => {
  const stream = document.getElementById("stream"), slot = document.getElementById("slot")
  if (!stream || !slot) return
  const label = stream.dataset.newer, pill = slot.querySelector(".newer"), said = slot.querySelector(".news")
  const state = () => document.getElementById("news").dataset
  let before = { ...state() }, lost = 0, waiting = 0, on = true
  const title = document.title.replace(/^\(\d+\) /, "")

  const tell = () => {
    const now = state(), open = now.open.split(" ").filter(Boolean), known = before.open.split(" ")
    const fresh = open.filter(id => !known.includes(id))
    document.title = `${open.length ? `(${open.length}) ` : ""}${title}`
    const more = label === "incidents" ? fresh.length : Number(now[label]) - Number(before[label])
    pill.hidden = !(more > 0)
    pill.textContent = `${more > 0 ? more.toLocaleString("en") : 0} newer · show`
    if (lost) return
    said.hidden = !fresh.length
    if (!fresh.length) return
    said.textContent = fresh.length > 1 ? `${fresh.length} new incidents. Show` : `A new ${fresh[0] === open[0] ? now.worst + " " : ""}incident. Show`
    said.href = fresh.length > 1 ? "/incidents" : `/incidents/${encodeURIComponent(fresh[0])}`
  }
  const show = async () => {
    await htmx.ajax("GET", location.href, { target: "#main", select: "#main", swap: "outerMorph" })
    before = { ...state() }
    tell()
  }
  pill.addEventListener("click", event => { event.preventDefault(); show() })

  // What may not change in place: what is not on this page, what holds the focus, a form, a menu, a chart that is dragged over.
  const mayChange = place => place && !place.contains(document.activeElement) && !place.querySelector("details[open], form") && !place.closest("[data-dragging]")
  document.addEventListener("htmx:before:swap", event => {
    const tasks = event.detail.tasks
    if (!stream.contains(event.target) && event.target !== stream) return
    for (let index = tasks.length - 1; index >= 0; index--) {
      const each = tasks[index], place = typeof each.target === "string" ? document.querySelector(each.target) : each.target
      if (each.type !== "partial" ? place !== stream : !on || !mayChange(place)) tasks.splice(index, 1)
    }
  })
  document.addEventListener("htmx:sse:after:message", () => {
    if (!on) return
    tell()
    const empty = document.querySelector("[data-empty]") && !document.querySelector("#main :focus")
    if (empty && (state()[label] !== before[label] || state().open !== before.open)) show()
  })

  const dot = text => {
    const live = document.getElementById("live")
    live?.classList.toggle("late", Boolean(text))
    said.hidden = !text
    if (text) { said.textContent = text; said.removeAttribute("href") } else tell()
  }
  const lose = () => {
    lost ||= Date.now()
    waiting ||= setTimeout(() => { if (lost) dot(`Reconnecting; data as of ${new Date(state().at).toLocaleTimeString("en-GB")}`) }, 10_000)
  }
  document.addEventListener("htmx:sse:error", event => {
    if ([401, 403].includes(event.detail.status)) { on = false; stream.remove(); return dot("Your key is no longer accepted. Load the page again to give another one.") }
    lose()
  })
  document.addEventListener("htmx:sse:before:connection", event => { if (event.detail.connection.attempt > 0 && !document.hidden) lose() })
  document.addEventListener("htmx:sse:after:connection", () => { clearTimeout(waiting); const was = lost; lost = waiting = 0; if (was) dot("") })
  document.addEventListener("htmx:sse:close", () => { if (on && stream.isConnected) lose() })

  document.addEventListener("tracewatch:live", () => {
    on = !on
    dot(on ? "" : "Not live: nothing on this page changes until you press . again.")
  })
  addEventListener("pagehide", () => stream._htmx?.sse?.abortController?.abort?.())
})()
