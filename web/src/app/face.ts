/** The face's present expression, whoever sets it: sliders, presets, a recording or the webcam. */

import type { ViewerStage } from './stage';

export type Weights = Record<string, number>;

/** Pitch, yaw and roll in degrees, positive with the chin up, the subject's left side seen, leaning right in the picture. */
export type HeadAngles = readonly [number, number, number];

const STRAIGHT: HeadAngles = [0, 0, 0];

/** Who moves the face; when another begins, the one before ends. */
export interface FaceSource {
  stop(): void;
}

export class Face {
  private readonly weights: Weights;
  private readonly listeners = new Set<(weights: Weights) => void>();
  private source: FaceSource | null = null;
  private pose: string | null = null;

  constructor(
    private readonly stage: ViewerStage,
    readonly names: string[],
  ) {
    this.weights = Object.fromEntries(names.map((name) => [name, 0]));
    stage.onLoaded(() => this.apply(this.weights, STRAIGHT));
  }

  /** Be driven by a recording or the webcam from now on. */
  begin(source: FaceSource): void {
    if (this.source !== source) this.source?.stop();
    this.source = source;
    this.stage.showAvatar();
  }

  /** Show one expression: those that are not named rest. */
  show(weights: Weights, angles: HeadAngles = STRAIGHT): void {
    for (const name of this.names) this.weights[name] = weights[name] ?? 0;
    this.apply(this.weights, angles);
  }

  /** Show an expression that a person asked for by hand; this ends a recording or the webcam. */
  pick(weights: Weights): boolean {
    this.stopSource();
    if (!this.stage.showAvatar()) return false;
    this.show(weights);
    return true;
  }

  /** Change one expression by hand. */
  nudge(name: string, weight: number): boolean {
    return this.pick({ ...this.weights, [name]: weight });
  }

  /** Show a pose that the file itself holds. */
  playPose(name: string): void {
    if (!this.pick({})) return;
    this.pose = name;
    this.stage.viewer.playClip(name);
  }

  get poses(): string[] {
    return this.stage.viewer.clips;
  }

  stopSource(): void {
    this.source?.stop();
    this.source = null;
  }

  /** Call a function with the weights after every change. */
  subscribe(listener: (weights: Weights) => void): void {
    this.listeners.add(listener);
  }

  private apply(weights: Weights, [pitch_deg, yaw_deg, roll_deg]: HeadAngles): void {
    const { viewer } = this.stage;
    if (this.pose !== null) viewer.playClip(null);
    this.pose = null;
    viewer.setExpression(weights);
    viewer.setHeadRotation(pitch_deg, yaw_deg, roll_deg);
    for (const listener of this.listeners) listener(weights);
  }
}
