/**
 * What one does with a head of spmr-recon in three.js, once GLTFLoader has read its .glb.
 *
 *   const gltf = await new GLTFLoader().loadAsync('head.glb');
 *   express(gltf.scene, { jawOpen: 0.6, eyeBlinkLeft: 1 });
 *   look(gltf.scene, 0.3, -0.1);
 */

/**
 * Puts an expression on all parts of the head; morph targets that are not named rest.
 *
 * @param {object} scene the scene of the .glb
 * @param {Object<string, number>} weights 0 to 1 by ARKit's names
 */
export function express(scene, weights) {
  const known = new Set();
  scene.traverse(part => {
    for (const [name, index] of Object.entries(part.morphTargetDictionary ?? {})) {
      known.add(name);
      part.morphTargetInfluences[index] = weights[name] ?? 0;
    }
  });
  const unknown = Object.keys(weights).filter(name => !known.has(name));
  if (unknown.length) throw new Error(`no morph target is called ${unknown.join(', ')}`);
}

/**
 * Turns both eyes by their bones.
 *
 * @param {object} scene the scene of the .glb
 * @param {number} left radians toward the head's own left
 * @param {number} down radians
 */
export function look(scene, left, down) {
  for (const name of ['leftEye', 'rightEye']) scene.getObjectByName(name).rotation.set(down, left, 0, 'YXZ');
}
