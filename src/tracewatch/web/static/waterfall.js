// A long trace: the page is as high as all its rows, and holds those that are looked at.
(() => {
  const rows = document.querySelector(".wf-rows"), total = Number(rows?.dataset.rows), most = 100
  const first = rows?.querySelector("a.wfr")
  if (!first || total <= rows.children.length) return
  const height = first.getBoundingClientRect().height
  document.querySelector(".pager")?.remove()
  const window_ = document.createElement("div")
  window_.setAttribute("role", "presentation")
  window_.append(...rows.children)
  rows.append(window_)
  Object.assign(rows.style, { height: `${total * height}px` })
  Object.assign(window_.style, { position: "absolute", insetInline: "0", top: `${Number(rows.dataset.first) * height}px` })
  let from = Number(rows.dataset.first), asking = 0
  const look = async () => {
    const top = -rows.getBoundingClientRect().top / height, seen = innerHeight / height
    if (top > from + 10 && top + seen < from + window_.children.length - 10) return
    const begin = Math.max(0, Math.min(Math.floor(top - most / 3), total - most)), turn = ++asking
    if (begin === from) return
    const url = new URL(rows.dataset.from, location.href)
    url.searchParams.set("from-row", begin)
    url.searchParams.set("n", most)
    const answer = await fetch(url)
    if (!answer.ok || turn !== asking) return
    const focused = window_.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null
    const parsed = new DOMParser().parseFromString(await answer.text(), "text/html")
    from = begin
    window_.replaceChildren(...parsed.body.children)
    window_.style.top = `${begin * height}px`
    if (focused) [...window_.children].find(each => each.getAttribute("href") === focused)?.focus({ preventScroll: true })
  }
  let waiting = 0
  addEventListener("scroll", () => { clearTimeout(waiting); waiting = setTimeout(look, 60) }, { passive: true })
})()
