/** The webcam drives the face: frames go to the server on this computer one at a time, readings come back smoothed. */

import { messageOf, readExpression, type FaceReading } from './api';
import { drawFrame, openCamera, stopCamera } from './camera';
import type { HeadAngles, Weights } from './face';
import { OneEuroFilter, type OneEuroSettings } from './one_euro';

const CAMERA_WIDTH_PX = 640;
const FRAME_WIDTH_PX = 320;
const JPEG_QUALITY = 0.8;
const CALIBRATION_S = 1.5;
const RETRY_MS = 1000;
const WEIGHT_FILTER: OneEuroSettings = { minCutoff_hz: 1.5, beta: 2 };
const ANGLE_FILTER: OneEuroSettings = { minCutoff_hz: 1, beta: 0.05 };

interface Reading {
  weights: Weights;
  angles: HeadAngles;
}

export interface WebcamListener {
  onReading(time_s: number, reading: Reading): void;
  /** A sentence on what is going on. */
  onState(text: string): void;
  onStopped(): void;
}

export class Webcam {
  private stream: MediaStream | null = null;
  private abort = new AbortController();
  private readonly canvas = document.createElement('canvas');
  private filters = new Map<string, OneEuroFilter>();
  private rest: Reading | null = null;
  private samples: Reading[] = [];
  private calibrateUntil_s = 0;

  constructor(
    private readonly video: HTMLVideoElement,
    private readonly listener: WebcamListener,
  ) {}

  get isOn(): boolean {
    return this.stream !== null;
  }

  /** Open the camera, take the face at rest, and go on until stopped. */
  async start(): Promise<void> {
    this.listener.onState('Opening the camera …');
    try {
      this.stream = await openCamera(this.video, CAMERA_WIDTH_PX);
    } catch (error) {
      this.listener.onState(messageOf(error));
      this.listener.onStopped();
      return;
    }
    this.abort = new AbortController();
    this.filters.clear();
    this.calibrate();
    void this.run(this.abort.signal);
  }

  stop(): void {
    if (!this.stream) return;
    this.abort.abort();
    stopCamera(this.stream);
    this.stream = null;
    this.video.srcObject = null;
    this.listener.onState('');
    this.listener.onStopped();
  }

  /** Take the face as it is in the next moments for the face at rest. */
  calibrate(): void {
    this.rest = null;
    this.samples = [];
    this.calibrateUntil_s = 0;
    this.listener.onState('Look straight ahead with a calm face …');
  }

  private async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        const frame = await drawFrame(this.video, this.canvas, FRAME_WIDTH_PX, JPEG_QUALITY);
        const time_s = performance.now() / 1000;
        const reading = await readExpression(frame, signal);
        if (!signal.aborted) this.take(time_s, reading);
      } catch (error) {
        if (signal.aborted) return;
        this.listener.onState(messageOf(error));
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
      await new Promise(requestAnimationFrame);
    }
  }

  private take(time_s: number, { face, expressions, head_rotation_deg }: FaceReading): void {
    if (!face) {
      this.listener.onState('No face is seen.');
      return;
    }
    const reading: Reading = { weights: expressions, angles: head_rotation_deg };
    if (!this.rest) {
      this.takeAtRest(time_s, reading);
      return;
    }
    this.listener.onState('Your face moves the head.');
    this.listener.onReading(time_s, this.smooth(time_s, fromRest(reading, this.rest)));
  }

  private takeAtRest(time_s: number, reading: Reading): void {
    this.samples.push(reading);
    if (this.calibrateUntil_s === 0) this.calibrateUntil_s = time_s + CALIBRATION_S;
    if (time_s < this.calibrateUntil_s) return;
    this.rest = meanReading(this.samples);
    this.samples = [];
  }

  private smooth(time_s: number, { weights, angles }: Reading): Reading {
    const next = (key: string, value: number, settings: OneEuroSettings): number => {
      let filter = this.filters.get(key);
      if (!filter) this.filters.set(key, (filter = new OneEuroFilter(settings)));
      return filter.next(value, time_s);
    };
    return {
      weights: Object.fromEntries(Object.entries(weights).map(([name, value]) => [name, next(name, value, WEIGHT_FILTER)])),
      angles: [
        next('pitch', angles[0], ANGLE_FILTER),
        next('yaw', angles[1], ANGLE_FILTER),
        next('roll', angles[2], ANGLE_FILTER),
      ],
    };
  }
}

/** What a reading has beyond the face at rest; the most stays 1. */
function fromRest(reading: Reading, rest: Reading): Reading {
  const weights = Object.fromEntries(
    Object.entries(reading.weights).map(([name, value]) => {
      const base = Math.min(0.9, rest.weights[name] ?? 0);
      return [name, Math.min(1, Math.max(0, (value - base) / (1 - base)))];
    }),
  );
  const angles: HeadAngles = [
    reading.angles[0] - rest.angles[0],
    reading.angles[1] - rest.angles[1],
    reading.angles[2] - rest.angles[2],
  ];
  return { weights, angles };
}

function meanReading(readings: Reading[]): Reading {
  const mean = (valueOf: (reading: Reading) => number): number =>
    readings.reduce((sum, reading) => sum + valueOf(reading), 0) / readings.length;
  return {
    weights: Object.fromEntries(Object.keys(readings[0]!.weights).map((name) => [name, mean((each) => each.weights[name] ?? 0)])),
    angles: [mean((each) => each.angles[0]), mean((each) => each.angles[1]), mean((each) => each.angles[2])],
  };
}
