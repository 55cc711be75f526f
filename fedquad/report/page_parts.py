"""The look and the few lines of script of a report's page; both are part of the page, which fetches nothing."""

from fedquad.report.looks import COLOURS

_LIGHT = "".join(f"--c{at}:{light};" for at, (light, _) in enumerate(COLOURS))
_DARK = "".join(f"--c{at}:{dark};" for at, (_, dark) in enumerate(COLOURS))

STYLE = (
    f":root{{color-scheme:light dark;--ink:#1b1f24;--soft:#59636e;--faint:#d3d7dd;--paper:#ffffff;--card:#f6f7f9;{_LIGHT}}}"
    f"@media screen and (prefers-color-scheme:dark){{:root{{--ink:#e8eaed;--soft:#a3adb8;--faint:#3a414a;--paper:#14171b;--card:#1c2026;{_DARK}}}}}"
    """
:root{--font:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
*{box-sizing:border-box}
body{margin:0 auto;max-width:76rem;padding:1.2rem;background:var(--paper);color:var(--ink);font:16px/1.5 var(--font)}
h1{font-size:1.6rem;line-height:1.2;margin:.2rem 0}
h2{font-size:1.2rem;margin:2.2rem 0 .6rem;border-bottom:1px solid var(--faint);padding-bottom:.2rem}
h3{font-size:1rem;margin:1.1rem 0 .4rem}
figure h3{margin-top:0}
p{margin:.4rem 0;max-width:62rem}
.soft,figcaption,.note{color:var(--soft);font-size:.86rem}
.said{background:var(--card);border-left:4px solid var(--c0);padding:.6rem 1rem;border-radius:.2rem}
.said li{margin:.15rem 0}
.said ul{margin:.2rem 0;padding-left:1.1rem}
.said h2{border:0;margin:0;padding:0}
.arms{position:sticky;top:0;z-index:2;background:var(--paper);display:flex;flex-wrap:wrap;gap:.15rem .9rem;padding:.5rem 0;border-bottom:1px solid var(--faint);max-height:30vh;overflow:auto}
.arms label{display:inline-flex;align-items:center;gap:.35rem;font-size:.86rem;white-space:nowrap}
.arms svg{width:2.2rem;height:.9rem}
.arms input{display:none;margin:0}
.js .arms input{display:inline}
.arms .all{display:none}
.js .arms .all{display:inline;font:inherit;font-size:.8rem;color:inherit;background:none;border:1px solid var(--faint);border-radius:.2rem}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,27rem),1fr));gap:1.2rem;align-items:start}
figure{margin:0;max-width:46rem;padding:.8rem;background:var(--card);border-radius:.3rem;min-width:0;break-inside:avoid}
figure .plot{position:relative}
figure svg{display:block;width:100%;height:auto;stroke-linejoin:round;stroke-linecap:butt}
figure svg text{fill:var(--ink)}
.tip{position:absolute;display:none;pointer-events:none;background:var(--ink);color:var(--paper);font-size:.78rem;line-height:1.3;padding:.15rem .4rem;border-radius:.2rem;max-width:75%}
.dot{fill:none;stroke:var(--ink);stroke-width:1.2;display:none}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:.22rem .7rem .22rem 0;border-bottom:1px solid var(--faint);vertical-align:top}
td{white-space:nowrap}
td.long{white-space:normal;overflow-wrap:anywhere;text-align:left;min-width:12rem}
th{font-weight:600;vertical-align:bottom}
tr>:first-child{text-align:left;font-weight:600}
a{color:var(--c0)}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--card);padding:.8rem;font-size:.78rem;border-radius:.3rem}
.off{display:none!important}
@media(max-width:34rem){body{padding:.7rem;font-size:15px}figure{padding:.5rem}h1{font-size:1.3rem}.arms{position:static}}
@media print{
body{max-width:none;padding:0;font-size:10pt}.arms{position:static;max-height:none}.js .arms input,.js .arms .all{display:none}
.figures{grid-template-columns:1fr 1fr;gap:.6rem}figure,.said{border:1px solid var(--faint);background:none}.said{border-left:4px solid var(--c0)}
.wide{overflow:visible}table{font-size:7.5pt;page-break-inside:auto}tr{break-inside:avoid}h2,h3{break-after:avoid}
th,td{padding-right:.4rem}pre{background:none;border:1px solid var(--faint);padding:.4rem;font-size:7pt;columns:2}.links{display:none}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
)

SCRIPT = """
(function(){
"use strict";
document.documentElement.classList.add("js");
var off={};
function each(list,act){Array.prototype.forEach.call(list,act)}
function show(arm,on){off[arm]=!on;each(document.querySelectorAll(".arm-"+arm),function(e){e.classList.toggle("off",!on)})}
var boxes=document.querySelectorAll(".arms input");
each(boxes,function(box){box.addEventListener("change",function(){show(box.value,box.checked)})});
var all=document.querySelector(".arms .all");
if(all)all.addEventListener("click",function(){
var none=Array.prototype.every.call(boxes,function(b){return b.checked});
each(boxes,function(b){b.checked=!none;show(b.value,b.checked)})});
var names=JSON.parse(document.getElementById("labels").textContent);
function nearest(data,x,y){
var best=null,far=400;
data.points.forEach(function(p){if(off[p[0]])return;var d=(p[1]-x)*(p[1]-x)+(p[2]-y)*(p[2]-y);if(d<far){far=d;best=[p[1],p[2],p[3]]}});
data.grids.forEach(function(g){
var c=g.corners,w=c[2]-c[0],h=c[3]-c[1];if(x<c[0]||x>=c[2]||y<c[1]||y>=c[3])return;
var row=Math.floor((y-c[1])/h*g.rows.length),at=Math.floor((x-c[0])/w*g.rows[row].length),v=g.rows[row][at];
if(v!==null)best=[c[0]+(at+.5)*w/g.rows[row].length,c[1]+(row+.5)*h/g.rows.length,names[row]+", "+(g.panel?g.panel+", ":"")+g.axis+" "+(at+g.first)+": "+v]});
return best}
each(document.querySelectorAll("figure"),function(figure){
var data=JSON.parse(figure.querySelector("script").textContent),svg=figure.querySelector("svg"),tip=figure.querySelector(".tip");
var dot=document.createElementNS(svg.namespaceURI,"circle");dot.setAttribute("class","dot");dot.setAttribute("r","4");svg.appendChild(dot);
function hide(){tip.style.display=dot.style.display="none"}
svg.addEventListener("pointerleave",hide);
svg.addEventListener("pointermove",function(event){
var box=svg.getBoundingClientRect(),scale=svg.viewBox.baseVal.width/box.width;
var found=nearest(data,(event.clientX-box.left)*scale,(event.clientY-box.top)*scale);
if(!found)return hide();
tip.textContent=found[2];tip.style.display="block";dot.style.display="inline";
dot.setAttribute("cx",found[0]);dot.setAttribute("cy",found[1]);
var left=found[0]/scale,right=left>box.width/2;
tip.style.left=right?"auto":left+8+"px";tip.style.right=right?box.width-left+8+"px":"auto";
tip.style.top=Math.max(0,found[1]/scale-26)+"px"})});
})();
"""
