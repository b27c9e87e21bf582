/** The panel of movement: a recording that plays on the avatar, and the webcam that drives and records it. */

import { announce, showError } from './announce';
import { messageOf } from './api';
import { MAX_CLIP_S, clipSeconds, sampleClip, type Clip, type ClipFrame } from './clip';
import { button, element, fill, icon, iconButton, setText } from './dom';
import type { Face, FaceSource } from './face';
import { readLiveLink, writeLiveLink } from './live_link';
import { saveAs } from './save';
import { slider, type Slider } from './slider';
import { Webcam } from './webcam';
import { clock } from './words';

const NO_AVATAR = 'A recording plays on an avatar, and this head has none yet. Make head.glb under Files.';

/** The panel; recordings may also be handed to it. */
export class AnimatePanel {
  readonly root: HTMLElement;
  private readonly player: ClipPlayer;
  private readonly recorder: WebcamSection;

  constructor(
    private readonly face: Face,
    private readonly hasAvatar: () => boolean,
  ) {
    this.player = new ClipPlayer(face);
    this.recorder = new WebcamSection(face, hasAvatar, (clip) => this.player.load(clip, { isOwn: true }));
    const chooser = element('input', { type: 'file', accept: '.csv,text/csv', hidden: true });
    chooser.addEventListener('change', () => {
      const file = chooser.files?.[0];
      if (file) void this.take(file);
      chooser.value = '';
    });
    this.root = element(
      'div',
      { class: 'panel-content' },
      this.recorder.root,
      element(
        'section',
        {},
        element('h2', {}, 'Recording'),
        element('p', { class: 'hint' }, 'Drop the CSV of a take by Live Link Face onto the page, or choose it.'),
        this.player.root,
        element('div', { class: 'row' }, chooser, button('Choose a recording', { onclick: () => chooser.click() })),
      ),
    );
  }

  /** Read a recording and play it. */
  async take(file: File): Promise<void> {
    if (!this.hasAvatar()) return showError(NO_AVATAR);
    try {
      this.player.load(await readLiveLink(file, this.face.names));
      this.player.play();
    } catch (error) {
      showError(messageOf(error));
    }
  }

  dispose(): void {
    this.face.stopSource();
  }
}

class ClipPlayer implements FaceSource {
  readonly root = element('div', { class: 'player', hidden: true });
  private clip: Clip | null = null;
  private time_s = 0;
  private frame = 0;
  private readonly toggle = iconButton('play', 'Play', { onclick: () => (this.frame ? this.stop() : this.play()) });
  private scrub: Slider | null = null;

  constructor(private readonly face: Face) {}

  load(clip: Clip, { isOwn = false } = {}): void {
    this.stop();
    this.clip = clip;
    this.time_s = 0;
    const length = clipSeconds(clip);
    this.scrub = slider(clip.name, 0, { min: 0, max: length, step: 0.01 }, {
      words: (value) => `${clock(value)} of ${clock(length)}`,
      onInput: (value) => this.show(value),
    });
    const save = button('Download as CSV', {
      class: 'button button-quiet',
      onclick: () => saveAs(new Blob([writeLiveLink(clip, this.face.names)], { type: 'text/csv' }), clip.name),
    }, 'download');
    fill(this.root, element('div', { class: 'player-row' }, this.toggle, this.scrub.root), isOwn ? save : null);
    this.root.hidden = false;
    announce(`Recording ${clip.name}, ${clock(length)}.`);
  }

  play(): void {
    const { clip } = this;
    if (!clip) return;
    this.face.begin(this);
    this.showToggle(true);
    const length = clipSeconds(clip);
    let last_ms = performance.now();
    const step = (now_ms: number): void => {
      this.show((this.time_s + Math.max(0, now_ms - last_ms) / 1000) % length);
      last_ms = now_ms;
      this.frame = requestAnimationFrame(step);
    };
    this.frame = requestAnimationFrame(step);
  }

  stop(): void {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    this.showToggle(false);
  }

  private show(time_s: number): void {
    if (!this.clip) return;
    this.face.begin(this);
    this.time_s = time_s;
    const { weights, angles } = sampleClip(this.clip, time_s);
    this.face.show(weights, angles);
    this.scrub?.set(time_s);
  }

  private showToggle(isPlaying: boolean): void {
    const text = isPlaying ? 'Pause' : 'Play';
    this.toggle.setAttribute('aria-label', text);
    this.toggle.title = text;
    fill(this.toggle, icon(isPlaying ? 'pause' : 'play'));
  }
}

class WebcamSection implements FaceSource {
  readonly root: HTMLElement;
  private readonly webcam: Webcam;
  private readonly video = element('video', { class: 'webcam-picture', playsinline: true, 'aria-label': 'What the webcam sees' });
  private readonly state = element('p', { class: 'hint', role: 'status' });
  private readonly live = element('div', { class: 'webcam-live', hidden: true });
  private readonly toggle = button('Use the webcam', {}, 'camera');
  private readonly record = button('Record', { class: 'button record-button' });
  private frames: ClipFrame[] | null = null;
  private began_s = 0;
  private takes = 0;

  constructor(
    private readonly face: Face,
    private readonly hasAvatar: () => boolean,
    private readonly onRecorded: (clip: Clip) => void,
  ) {
    this.video.muted = true;
    this.webcam = new Webcam(this.video, {
      onReading: (time_s, { weights, angles }) => {
        this.face.show(weights, angles);
        this.keep({ time_s, weights, angles });
      },
      onState: (text) => setText(this.state, text),
      onStopped: () => this.showStopped(),
    });
    this.toggle.addEventListener('click', () => (this.webcam.isOn ? this.stop() : void this.start()));
    this.record.addEventListener('click', () => (this.frames ? this.endRecording() : this.beginRecording()));
    const calibrate = button('Calm face again', { onclick: () => this.webcam.calibrate() });
    this.live.append(this.video, element('div', { class: 'row' }, this.record, calibrate));
    this.root = element(
      'section',
      {},
      element('h2', {}, 'Your own face'),
      element('p', { class: 'hint' }, 'The webcam’s pictures are read on this computer and kept nowhere.'),
      this.live,
      this.state,
      element('div', { class: 'row' }, this.toggle),
    );
  }

  stop(): void {
    this.endRecording();
    this.webcam.stop();
  }

  private async start(): Promise<void> {
    if (!this.hasAvatar()) return showError(NO_AVATAR);
    this.face.begin(this);
    this.live.hidden = false;
    fill(this.toggle, icon('close'), 'Turn the webcam off');
    await this.webcam.start();
  }

  private showStopped(): void {
    this.live.hidden = true;
    fill(this.toggle, icon('camera'), 'Use the webcam');
  }

  private beginRecording(): void {
    this.frames = [];
    setText(this.record, 'Stop recording');
    this.record.classList.add('is-recording');
    announce('Recording.');
  }

  private keep(frame: ClipFrame): void {
    if (!this.frames) return;
    if (this.frames.length === 0) this.began_s = frame.time_s;
    const time_s = frame.time_s - this.began_s;
    this.frames.push({ ...frame, time_s });
    setText(this.record, `Stop recording, ${clock(time_s)}`);
    if (time_s >= MAX_CLIP_S) this.endRecording();
  }

  private endRecording(): void {
    const frames = this.frames;
    this.frames = null;
    setText(this.record, 'Record');
    this.record.classList.remove('is-recording');
    if (!frames) return;
    if (frames.length < 2) return showError('The recording is too short; record for a second or more.');
    this.takes += 1;
    this.onRecorded({ name: `take_${this.takes}.csv`, frames });
  }
}
