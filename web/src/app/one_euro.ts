/**
 * Smooths a signal from a camera: strongly where it rests, hardly where it moves.
 *
 * Method: Casiez, Roussel and Vogel, "1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy Input" (CHI 2012).
 */

export interface OneEuroSettings {
  /** Cut-off where the signal rests, Hz: lower is calmer. */
  minCutoff_hz: number;
  /** Growth of the cut-off with speed: higher lags less. */
  beta: number;
}

const SPEED_CUTOFF_HZ = 1;

export class OneEuroFilter {
  private last: { time_s: number; value: number; speed: number } | null = null;

  constructor(private readonly settings: OneEuroSettings) {}

  /** Return the smoothed value; times must grow. */
  next(value: number, time_s: number): number {
    const last = this.last;
    const step_s = last ? time_s - last.time_s : 0;
    if (!last || step_s <= 0) {
      this.last = { time_s, value, speed: 0 };
      return value;
    }
    const speed = blend(last.speed, (value - last.value) / step_s, SPEED_CUTOFF_HZ, step_s);
    const cutoff_hz = this.settings.minCutoff_hz + this.settings.beta * Math.abs(speed);
    const smoothed = blend(last.value, value, cutoff_hz, step_s);
    this.last = { time_s, value: smoothed, speed };
    return smoothed;
  }
}

function blend(before: number, now: number, cutoff_hz: number, step_s: number): number {
  const part = 1 / (1 + 1 / (2 * Math.PI * cutoff_hz * step_s));
  return before + part * (now - before);
}
