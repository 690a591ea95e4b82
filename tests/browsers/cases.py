# SPDX-License-Identifier: GPL-2.0-or-later
"""What a web page, or a program that fetches addresses it was given, can send to a stub's port: everything we know of.

Where a request may say what it wants to, it says a debugger's handshake and then what does harm.
"""

from __future__ import annotations

import json
from typing import Final

TARGET: Final = "/tmp/armprobe-written-by-a-web-page"
"""The file that the requests would have written."""


def packet(payload: str) -> str:
    """A packet of the protocol."""
    return f"${payload}#{sum(payload.encode()) % 256:02x}"


SAVE: Final = packet("qRcmd," + f"save {TARGET}".encode().hex())
ATTACK: Final = packet("?") + SAVE + packet("k")
OPENED_KILL: Final = packet("!") + packet("k")
"""A token of HTTP's, so that it can be a method, that is a handshake and puts the guest back to its start."""

# From a page of another origin: JavaScript, with the stub's origin as `stub`, its host and port as `place`.
_CROSS: Final = {
    "fetch-get": "await fetch(stub + '/' + attack, {mode: 'no-cors'})",
    "fetch-post-text": "await fetch(stub, {mode: 'no-cors', method: 'POST', body: attack})",
    "fetch-post-large": "await fetch(stub, {mode: 'no-cors', method: 'POST', body: '+'.repeat(70000) + attack})",
    "fetch-post-blob": "await fetch(stub, {mode: 'no-cors', method: 'POST', body: new Blob([attack, attack])})",
    "fetch-head": "await fetch(stub, {mode: 'no-cors', method: 'HEAD'})",
    "fetch-preflight-header": "await fetch(stub, {headers: {'x-a': attack}})",
    "fetch-preflight-method": "await fetch(stub, {method: kill})",
    "beacon": "navigator.sendBeacon(stub, attack); await pause()",
    "xhr": "await send(new XMLHttpRequest(), attack)",
    "form-text": "await form('text/plain', 'POST')",
    "form-multipart": "await form('multipart/form-data', 'POST')",
    "form-get": "await form('application/x-www-form-urlencoded', 'GET')",
    "image": "await load('img', stub + '/' + encodeURIComponent(attack))",
    "script": "await load('script', stub + '/?' + attack)",
    "events": "const e = new EventSource(stub); await pause(); e.close()",
    "websocket": "const w = new WebSocket('ws://' + place + '/' + kill.slice(1, 2)); await pause(); w.close()",
    "websocket-protocol": "const w = new WebSocket('ws://' + place, [kill]); await pause(); w.close()",
    "tls": "await fetch('https://' + place, {mode: 'no-cors'})",
    "turn": "await turn()",
}
# From a page of the stub's own origin, as DNS rebinding makes one: all methods and headers are allowed.
_SAME: Final = {
    "rebound-method": "await fetch('/', {method: get, headers: {'x-a': attack}})",
    "rebound-method-kill": "await fetch('/', {method: kill})",
    "rebound-method-acknowledged": "await fetch('/', {method: '+' + kill.replace('$k', '+$k') + '+'})",
    "rebound-method-noack": "await fetch('/', {method: noack + kill.slice(5), body: attack})",
    "rebound-method-handshake": "await fetch('/', {method: kill.slice(0, 4), body: attack})",
    "rebound-method-padded": "await fetch('/', {method: '+'.repeat(70000) + kill})",
    "rebound-method-open": "await fetch('/', {method: '$x', headers: {'x-a': attack}, body: attack})",
    "rebound-method-closed": "await fetch('/', {method: '$x', headers: {'x-a': '#00' + attack}})",
    "rebound-method-notification": "await fetch('/', {method: '%x', headers: {'x-a': '#00' + attack}, body: attack})",
    "rebound-method-sign": "await fetch('/', {method: '+', headers: {'x-a': attack}, body: attack})",
    "rebound-method-minus": "await fetch('/', {method: '-', headers: {'x-a': attack}})",
    "rebound-path": "await fetch('/' + attack, {method: 'PUT', body: attack})",
    "rebound-headers": "await fetch('/', {method: '$', headers: {'$!#21': attack, '+': kill, 'x-b': attack}})",
    "rebound-body-bytes": "await fetch('/', {method: 'POST', body: new Uint8Array([3, 36, 63, 35, 51, 102])})",
}
CROSS_ORIGIN: Final = tuple(_CROSS)

# Arguments of curl's, with the stub's host and port as PLACE.
CURL: Final = {
    "curl-get": ["http://PLACE/"],
    "curl-method-kill": ["-X", OPENED_KILL, "http://PLACE/"],
    "curl-method-get": ["-X", packet("g"), "-H", f"x-a: {ATTACK}", "http://PLACE/"],
    "curl-method-open": ["-X", "$x", "-H", f"x-a: {ATTACK}", "--data-binary", ATTACK, "http://PLACE/"],
    "curl-method-spaces": ["-X", f"{packet('?')}\r\n{SAVE}\r\n", "http://PLACE/"],
    "curl-header-first": ["-H", "Host:", "-H", f"{ATTACK}: x", "http://PLACE/"],
    "curl-upload": ["-X", "PUT", "--data-binary", ATTACK, "-H", "Expect: 100-continue", "http://PLACE/"],
    "curl-http2": ["--http2-prior-knowledge", "http://PLACE/"],
    "curl-tls": ["-k", "https://PLACE/"],
    "curl-gopher": ["gopher://PLACE/_" + ATTACK.replace("#", "%23").replace("?", "%3f")],
    "curl-gopher-handshake": ["gopher://PLACE/_" + packet("?").replace("#", "%23").replace("?", "%3f")],
    "curl-gopher-kill": ["gopher://PLACE/_" + OPENED_KILL.replace("#", "%23")],
    "curl-dict": ["dict://PLACE/d:" + ATTACK.replace("#", "%23").replace("?", "%3f")],
    "curl-rtsp": ["rtsp://PLACE/x"],
    "curl-ldap": ["ldap://PLACE/x"],
    "curl-socks": ["-x", "socks5h://PLACE", "http://example.invalid/"],
    "curl-proxy": ["-x", "http://PLACE", "-p", "http://example.invalid/"],
}

_PAGE: Final = """<!doctype html><meta charset="utf-8"><iframe name="sink"></iframe><script>
const place = %(place)s, control = %(control)s, attack = %(attack)s, kill = %(kill)s, get = %(get)s, noack = %(noack)s;
const stub = 'http://' + place;
const pause = () => new Promise(done => setTimeout(done, 800));
const within = promise => Promise.race([promise, new Promise(done => setTimeout(done, 3000))]);
const load = (what, where) => new Promise(done => {
  const e = document.createElement(what); e.onload = e.onerror = done; e.src = where; document.body.append(e); });
const send = (request, body) => new Promise(done => {
  request.onloadend = done; request.open('POST', stub); request.setRequestHeader('Content-Type', 'text/plain');
  request.send(body); });
const form = (type, method) => {
  const e = document.createElement('form'), field = document.createElement('input');
  e.action = stub + '/form'; e.method = method; e.enctype = type; e.target = 'sink';
  field.name = attack; field.value = attack; e.append(field); document.body.append(e); e.submit(); return pause(); };
const turn = async () => {
  const server = {urls: 'turn:' + place + '?transport=tcp', username: attack, credential: attack};
  const peer = new RTCPeerConnection({iceServers: [server], iceTransportPolicy: 'relay'});
  peer.createDataChannel('x'); await peer.setLocalDescription(await peer.createOffer()); await pause(); peer.close(); };
const cases = {%(cases)s};
(async () => {
  await fetch(control + '/go');
  for (const [name, run] of Object.entries(cases)) {
    await fetch(control + '/begin?' + name);
    try { await within(run()); } catch (error) { }
    await fetch(control + '/end?' + name);
  }
  await fetch(control + '/done');
})();
</script>"""


def page(place: str, control: str, rebound: bool) -> str:
    """The page that makes all requests: of another origin than the stub at `place`, or of its own."""
    chosen = _SAME if rebound else _CROSS
    words = {
        "place": place,
        "control": control,
        "attack": ATTACK,
        "kill": OPENED_KILL,
        "get": packet("g"),
        "noack": packet("QStartNoAckMode"),
    }
    filled = {name: json.dumps(word) for name, word in words.items()}
    return _PAGE % {**filled, "cases": ",".join(f"'{name}': async () => {{{code}}}" for name, code in chosen.items())}


NAMES: Final = (*_CROSS, *_SAME, *CURL)
