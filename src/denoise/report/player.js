"use strict";
// Plays signals of one length together and lets one of them be heard, so that switching keeps the
// place. Shared by the report and the pages of blind tests.
class Switcher {
  constructor(sources, rate) {
    this.sources = sources; // [{name, uri}]
    this.rate = rate; // Hz
    this.chosen = 0;
    this.offset = 0; // seconds
    this.onend = () => {};
  }

  async load() {
    this.loading ??= Promise.all(
      this.sources.map(async ({ uri }) => {
        const text = atob(uri.slice(uri.indexOf(",") + 1));
        const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
        // At its own rate, as a context resamples to that of its device.
        return new OfflineAudioContext(1, 1, this.rate).decodeAudioData(bytes.buffer);
      }),
    ).then((buffers) => {
      this.buffers = buffers;
      this.duration = Math.max(...buffers.map((buffer) => buffer.duration));
    });
    return this.loading;
  }

  get playing() {
    return Boolean(this.nodes);
  }

  get time() {
    if (!this.playing) return this.offset;
    const now = this.offset + this.context.currentTime - this.started;
    return this.loop ? now % this.duration : Math.min(now, this.duration);
  }

  async play() {
    await this.load();
    if (this.playing) return;
    for (const other of Switcher.all) if (other !== this) other.pause();
    Switcher.all.add(this);
    this.context = Switcher.context ??= new AudioContext();
    await this.context.resume();
    if (this.offset >= this.duration) this.offset = 0;
    this.started = this.context.currentTime + 0.02;
    this.nodes = this.buffers.map((buffer, place) => {
      const source = this.context.createBufferSource();
      const gain = this.context.createGain();
      source.buffer = buffer;
      source.loop = Boolean(this.loop);
      gain.gain.value = place === this.chosen ? 1 : 0;
      source.connect(gain).connect(this.context.destination);
      source.start(this.started, this.offset);
      return { source, gain };
    });
    const { source } = this.nodes[0];
    source.onended = () => {
      if (this.nodes?.[0].source !== source) return;
      this.pause();
      this.offset = 0;
      this.onend();
    };
  }

  pause() {
    if (!this.playing) return;
    this.offset = this.time;
    const nodes = this.nodes;
    this.nodes = undefined;
    for (const { source } of nodes) source.stop();
  }

  async seek(seconds) {
    const resume = this.playing;
    this.pause();
    this.offset = Math.min(Math.max(0, seconds), this.duration ?? 0);
    if (resume) await this.play();
  }

  choose(place) {
    this.chosen = place;
    if (!this.playing) return;
    const now = this.context.currentTime;
    this.nodes.forEach(({ gain }, number) => {
      gain.gain.setTargetAtTime(number === place ? 1 : 0, now, 0.008);
    });
  }
}
Switcher.all = new Set();

// Magnitudes in dB of frames under a Hann window: [frames][bins].
function spectrogram(samples, size, columns) {
  const window = Float32Array.from({ length: size }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / size));
  const hop = Math.max(1, (samples.length - size) / Math.max(1, columns - 1));
  const frames = [];
  const re = new Float32Array(size);
  const im = new Float32Array(size);
  for (let column = 0; column < columns; column++) {
    const start = Math.round(column * hop);
    for (let n = 0; n < size; n++) {
      re[n] = (samples[start + n] ?? 0) * window[n];
      im[n] = 0;
    }
    fft(re, im);
    frames.push(Float32Array.from({ length: size / 2 }, (_, k) => 10 * Math.log10(re[k] ** 2 + im[k] ** 2 + 1e-12)));
  }
  return frames;
}

// In place, of a power of two values (Cooley and Tukey).
function fft(re, im) {
  const size = re.length;
  for (let i = 1, j = 0; i < size; i++) {
    let bit = size >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [re[i], re[j]] = [re[j], re[i]];
      [im[i], im[j]] = [im[j], im[i]];
    }
  }
  for (let span = 2; span <= size; span *= 2) {
    for (let k = 0; k < span / 2; k++) {
      const c = Math.cos((-2 * Math.PI * k) / span);
      const s = Math.sin((-2 * Math.PI * k) / span);
      for (let i = k; i < size; i += span) {
        const j = i + span / 2;
        const x = re[j] * c - im[j] * s;
        const y = re[j] * s + im[j] * c;
        re[j] = re[i] - x;
        im[j] = im[i] - y;
        re[i] += x;
        im[i] += y;
      }
    }
  }
}

// From black over purple and orange to white, as Matplotlib's magma.
const SHADES = [[0, 0, 4], [40, 17, 89], [101, 26, 128], [159, 47, 127], [213, 72, 104], [246, 110, 92], [254, 159, 109], [253, 207, 146], [252, 253, 191]];
function shade(level) {
  const place = Math.min(0.9999, Math.max(0, level)) * (SHADES.length - 1);
  const [low, high] = [SHADES[Math.floor(place)], SHADES[Math.ceil(place)]];
  return low.map((value, k) => value + (place - Math.floor(place)) * (high[k] - value));
}

function drawSpectrogram(canvas, frames, top) {
  const bins = frames[0].length;
  canvas.width = frames.length;
  canvas.height = bins;
  const context = canvas.getContext("2d");
  const image = context.createImageData(frames.length, bins);
  frames.forEach((frame, x) => {
    for (let k = 0; k < bins; k++) {
      const at = 4 * ((bins - 1 - k) * frames.length + x);
      image.data.set(shade((frame[k] - top + 80) / 80), at);
      image.data[at + 3] = 255;
    }
  });
  context.putImageData(image, 0, 0);
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in made && typeof value !== "string") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}
