/* The colours of the light and the dark theme, and the style sheets of pages and plots. */
#include "report/inside.h"

/*
 * c0...c7: curves, with a contrast of at least 3 : 1 to the background; h0...h15: heat map, from nearly the background
 * to the opposite, with text t0 on the first half and t1 on the second, with a contrast of at least 4.5 : 1; mk: marks;
 * gd: grid; bg: background.
 */
const char vj_theme_colours[] =
    ":root{color-scheme:light dark;--bg:#fff;--fg:#1c2126;--dim:#59636e;--line:#d5dae0;--soft:#f4f6f8;--link:#0b5cad;"
    "--warn:#8a4b00;--warnbg:#fff4e0;--good:#e3f1fc;--mk:#6b7580;"
    "--c0:#0068a8;--c1:#c84e00;--c2:#00805c;--c3:#a8407c;--c4:#846800;--c5:#6a51c0;--c6:#1e88b4;--c7:#5c5c5c;--t0:#"
    "10202e;--t1:#fff;"
    "--h0:#f3f7fb;--h1:#e3edf6;--h2:#d3e3f1;--h3:#c0d8eb;--h4:#a9cbe4;--h5:#8fbcdc;--h6:#74acd3;"
    "--h7:#5a9bc9;--h8:#347bb3;--h9:#2b70ab;--h10:#2468a5;--h11:#1a5896;--h12:#134986;--h13:#0e3b74;"
    "--h14:#0a2e61;--h15:#07224c"
    "}\n"
    "@media screen and (prefers-color-scheme:dark){:root{--bg:#14181c;--fg:#e4e8ec;--dim:#9aa5b1;--line:#353d46;"
    "--soft:#1d2329;--link:#7cbcff;--warn:#ffc46b;--warnbg:#33270f;--good:#16344d;--mk:#95a0ab;"
    "--c0:#58b4f4;--c1:#ff9050;--c2:#40cfa0;--c3:#f290c4;--c4:#dcc050;--c5:#b8a4f8;--c6:#80dcf4;--c7:#bcbcbc;--t0:#fff;"
    "--t1:#10202e;"
    "--h0:#07224c;--h1:#0a2e61;--h2:#0e3b74;--h3:#134986;--h4:#1a5896;--h5:#2468a5;--h6:#2b70ab;"
    "--h7:#347bb3;--h8:#5a9bc9;--h9:#74acd3;--h10:#8fbcdc;--h11:#a9cbe4;--h12:#c0d8eb;--h13:#d3e3f1;"
    "--h14:#e3edf6;--h15:#f3f7fb"
    "}}\n";

const char vj_theme_plots[] =
    ".plot{color:var(--fg);stroke-linecap:butt;stroke-linejoin:round;font:12px system-ui,sans-serif}\n"
    ".c0{color:var(--c0)}.c1{color:var(--c1)}.c2{color:var(--c2)}.c3{color:var(--c3)}.c4{color:var(--c4)}"
    ".c5{color:var(--c5)}.c6{color:var(--c6)}.c7{color:var(--c7)}.mk{color:var(--mk)}.gd{color:var(--line)}"
    ".bg{color:var(--bg)}.f{opacity:.35}.t0{color:var(--t0)}.t1{color:var(--t1)}\n"
    ".h0{color:var(--h0)}.h1{color:var(--h1)}.h2{color:var(--h2)}.h3{color:var(--h3)}.h4{color:var(--h4)}"
    ".h5{color:var(--h5)}.h6{color:var(--h6)}.h7{color:var(--h7)}.h8{color:var(--h8)}.h9{color:var(--h9)}"
    ".h10{color:var(--h10)}.h11{color:var(--h11)}.h12{color:var(--h12)}.h13{color:var(--h13)}"
    ".h14{color:var(--h14)}.h15{color:var(--h15)}\n";

const char vj_theme_page[] =
    "*{box-sizing:border-box}\n"
    "body{margin:0 auto;padding:1.2rem 1rem 3rem;max-width:94rem;background:var(--bg);color:var(--fg);"
    "font:16px/1.5 system-ui,-apple-system,'Segoe UI',sans-serif;overflow-wrap:anywhere}\n"
    "h1{font-size:1.7rem;line-height:1.2;margin:0 0 .3rem}h2{font-size:1.3rem;margin:2.4rem 0 .6rem;padding-top:.7rem;"
    "border-top:1px solid var(--line)}h3{font-size:1.05rem;margin:1.6rem 0 .5rem}\n"
    "p{margin:.5rem 0;max-width:46rem}a{color:var(--link)}.dim,figcaption{color:var(--dim);font-size:.875rem}\n"
    "nav{margin:.8rem 0}nav{font-size:.9375rem}nav a{display:inline-block;margin:.15rem .9rem .15rem 0}nav "
    ".top{font-weight:600}\n"
    ".note{max-width:60rem;margin:.6rem 0;padding:.5rem .8rem;border-left:4px solid "
    "var(--warn);background:var(--warnbg);"
    "color:var(--fg);white-space:pre-line}.note b{color:var(--warn)}\n"
    /* A shadow at each side to which one can scroll; at the end it is covered by a background that scrolls too. */
    ".wide{overflow:auto;width:fit-content;max-width:100%;margin:.8rem "
    "0;max-height:40rem;background:linear-gradient(90deg,var(--bg) 30%,transparent) "
    "local,linear-gradient(270deg,var(--bg) 30%,transparent) 100% 0 "
    "local,linear-gradient(0deg,var(--bg) 30%,transparent) 0 100% "
    "local,linear-gradient(90deg,var(--line),transparent),linear-gradient(270deg,var(--line),transparent) 100% 0,"
    "linear-gradient(0deg,var(--line),transparent) 0 100%;background-size:3rem 100%,3rem 100%,100% 3rem,.7rem "
    "100%,.7rem 100%,100% .7rem;background-repeat:no-repeat}"
    "table{border-collapse:collapse;width:max-content;font-size:.875rem;font-variant-numeric:tabular-nums}"
    "th,td{padding:.28rem .7rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--line);"
    "overflow-wrap:break-word;min-width:4rem;max-width:min(26rem,60vw)}"
    "thead th{border-bottom:2px solid var(--line);position:sticky;top:0;background:var(--bg);vertical-align:bottom}"
    "thead th.r{max-width:9rem}th small{font-weight:400;color:var(--dim);display:block}.r{text-align:right}tbody "
    "th{min-width:6rem}td.hi{background:var(--good);"
    "font-weight:600}\n"
    "dl{display:grid;grid-template-columns:minmax(7rem,max-content) 1fr;gap:.2rem 1rem;font-size:.9375rem;margin:.8rem "
    "0;"
    "max-width:70rem}dt{color:var(--dim)}dd{margin:0}\n"
    "@media screen and (max-width:40rem){dl{grid-template-columns:1fr}dt{margin-top:.3rem}}\n"
    ".plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,26rem),1fr));gap:1rem 1.4rem;"
    "margin:.8rem 0}section>figure{margin:.8rem 0}figure{margin:0;min-width:0;break-inside:avoid}figure "
    "h4{font-size:.9375rem;margin:0 0 .2rem}"
    ".plot{display:block;width:100%;height:auto}"
    /* In a narrow window a picture scrolls by itself: smaller than this the writing in it cannot be read. */
    ".picture{overflow-x:auto}img{display:block;max-width:max(100%,56rem);height:auto}"
    ".scale{white-space:nowrap}.scale i{display:inline-block;width:.6em;height:.8em;background:currentColor}\n"
    "@media "
    "print{@page{margin:14mm}body{padding:0;font-size:10pt}table{width:auto;font-size:7pt}th,td{padding:.2rem "
    ".3rem;min-width:0}tbody "
    "th{min-width:0}tbody "
    "th,td:not(.r){overflow-wrap:anywhere}nav{display:none}.wide{overflow:visible;width:auto;max-height:none;"
    "background:none}"
    "h2,h3{break-after:avoid}.plots{grid-template-columns:1fr "
    "1fr}.picture{overflow:visible}img{max-width:100%;max-height:235mm;width:auto}tr,.note{break-inside:avoid}"
    ".note,td.hi,.scale i{print-color-adjust:exact;-webkit-print-color-adjust:exact}}\n";
