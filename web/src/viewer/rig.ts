// What moves in an avatar: expressions, head, clips, hair on springs.

import type { VRM, VRMSpringBoneManager } from '@pixiv/three-vrm';
import * as THREE from 'three';

/** The neck's part of a turn of the head; the rest is the head's own. */
const NECK_SHARE = 0.4;

/** Hair on springs comes to rest in this time. */
const SWING_S = 4;

interface Morph {
  mesh: THREE.Mesh;
  index: number;
}

/** Moves one avatar by names. */
export class Rig {
  private readonly morphs = new Map<string, Morph[]>();
  private readonly vrmNames = new Map<string, string>();
  private readonly mixer: THREE.AnimationMixer;
  private readonly turned: { bone: THREE.Object3D; rest: THREE.Quaternion; share: number }[];
  private weights: Record<string, number> = {};
  private action: THREE.AnimationAction | null = null;
  private swingsFor_s = SWING_S;

  constructor(
    private readonly root: THREE.Object3D,
    private readonly animations: THREE.AnimationClip[],
    private readonly vrm: VRM | null,
    private readonly springs: VRMSpringBoneManager | null,
  ) {
    this.mixer = new THREE.AnimationMixer(root);
    for (const expression of vrm?.expressionManager?.expressions ?? []) {
      this.vrmNames.set(lowerFirst(expression.expressionName), expression.expressionName);
    }
    root.traverse((part) => {
      if (!(part instanceof THREE.Mesh) || part.userData.isTwin || !part.morphTargetDictionary) return;
      for (const [name, index] of Object.entries(part.morphTargetDictionary)) {
        if (!this.vrmNames.has(name)) this.morphs.set(name, [...(this.morphs.get(name) ?? []), { mesh: part, index }]);
      }
    });
    this.turned = this.bones();
  }

  get expressionNames(): string[] {
    return [...new Set([...this.morphs.keys(), ...this.vrmNames.keys()])];
  }

  get clips(): string[] {
    return this.animations.map((clip) => clip.name);
  }

  /** Put on an expression; what is not named rests. */
  setExpression(weights: Record<string, number>): void {
    this.weights = weights;
    for (const [name, parts] of this.morphs) {
      for (const { mesh, index } of parts) {
        if (mesh.morphTargetInfluences) mesh.morphTargetInfluences[index] = weights[name] ?? 0;
      }
    }
    for (const [name, own] of this.vrmNames) this.vrm?.expressionManager?.setValue(own, weights[name] ?? 0);
    this.vrm?.expressionManager?.update();
  }

  /** Turn the head: chin up, to its right, toward the right of a picture from the front. */
  setHeadRotation(pitch_deg: number, yaw_deg: number, roll_deg: number): void {
    this.swingsFor_s = SWING_S;
    const radians = [pitch_deg, yaw_deg, roll_deg].map((angle) => -THREE.MathUtils.degToRad(angle));
    for (const { bone, rest, share } of this.turned) {
      const [x = 0, y = 0, z = 0] = radians.map((angle) => angle * share);
      bone.quaternion.copy(rest).multiply(new THREE.Quaternion().setFromEuler(new THREE.Euler(x, y, z, 'YXZ')));
    }
    this.vrm?.humanoid.update();
  }

  /** Play a clip over and over, or none. */
  play(name: string | null): void {
    this.action?.stop();
    this.action = null;
    const clip = name === null ? undefined : this.animations.find((each) => each.name === name);
    if (name !== null && !clip) throw new Error(`there is no clip ${name}; there are ${this.clips.join(', ') || 'none'}`);
    if (clip) this.action = this.mixer.clipAction(clip).play();
    else this.setExpression(this.weights);
  }

  /** Whether something moves by itself. */
  get isMoving(): boolean {
    const swings = this.swingsFor_s > 0 && (this.springs?.joints.size ?? 0) > 0;
    return swings || (this.action !== null && this.action.getClip().duration > 0);
  }

  update(seconds: number): void {
    this.swingsFor_s = this.action ? SWING_S : Math.max(0, this.swingsFor_s - seconds);
    if (this.action) this.mixer.update(seconds);
    if (this.vrm) this.vrm.update(seconds);
    else this.springs?.update(seconds);
  }

  dispose(): void {
    this.mixer.stopAllAction();
    this.mixer.uncacheRoot(this.root);
  }

  private bones(): { bone: THREE.Object3D; rest: THREE.Quaternion; share: number }[] {
    const find = (name: 'head' | 'neck'): THREE.Object3D | null =>
      this.vrm?.humanoid.getNormalizedBoneNode(name) ?? this.root.getObjectByName(name) ?? null;
    const head = find('head');
    const neck = find('neck');
    if (!head) return [{ bone: this.root, rest: this.root.quaternion.clone(), share: 1 }];
    const parts = neck ? [[neck, NECK_SHARE] as const, [head, 1 - NECK_SHARE] as const] : [[head, 1] as const];
    return parts.map(([bone, share]) => ({ bone, rest: bone.quaternion.clone(), share }));
  }
}

function lowerFirst(name: string): string {
  return name.charAt(0).toLowerCase() + name.slice(1);
}
