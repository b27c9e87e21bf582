/** Recorded faces: expressions and head angles over time. */

import type { HeadAngles, Weights } from './face';

export interface ClipFrame {
  time_s: number;
  weights: Weights;
  angles: HeadAngles;
}

/** A recording whose first frame is at 0 and whose times grow. */
export interface Clip {
  name: string;
  frames: ClipFrame[];
}

export const MAX_CLIP_S = 600;

export function clipSeconds(clip: Clip): number {
  return clip.frames.at(-1)?.time_s ?? 0;
}

/** Return the face at a time, interpolated between the frames around it. */
export function sampleClip({ frames }: Clip, time_s: number): { weights: Weights; angles: HeadAngles } {
  let low = 0;
  let high = frames.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (frames[middle]!.time_s <= time_s) low = middle;
    else high = middle;
  }
  const before = frames[low]!;
  const after = frames[high]!;
  const gap = after.time_s - before.time_s;
  const part = gap > 0 ? Math.min(1, Math.max(0, (time_s - before.time_s) / gap)) : 0;
  const mix = (a: number, b: number): number => a + (b - a) * part;
  const weights = Object.fromEntries(Object.keys(before.weights).map((name) => [name, mix(before.weights[name]!, after.weights[name] ?? 0)]));
  const angles: HeadAngles = [
    mix(before.angles[0], after.angles[0]),
    mix(before.angles[1], after.angles[1]),
    mix(before.angles[2], after.angles[2]),
  ];
  return { weights, angles };
}
